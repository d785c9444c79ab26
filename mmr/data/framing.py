"""How a photograph of any shape is brought to the size that a vision network reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

WHITE = (255, 255, 255)
PHOTOGRAPHS_SEEN = 2_000  # a catalogue's first ones tell how it takes its photographs
_NEARLY_ALL = 0.95  # of them; the others are fitted in a little smaller
_METHODS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Framing:
    """What is done with shape and pixels.

    Attributes:
        fit: `pad` keeps the whole photograph and adds white margins; `stretch` changes its shape;
            `crop` keeps the shape and cuts off the ends of the longer side.
        resample: Pillow's method.
    """

    fit: Literal["pad", "stretch", "crop"] = "pad"
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    @property
    def suffix(self) -> str:
        """For the names of caches; empty for the default."""
        return "" if self == Framing() else f"-{self.fit}-{self.resample}"

    def apply(self, image: Image.Image, *, height: int, width: int) -> Image.Image:
        """The photograph at its new size, in pixels."""
        method = _METHODS[self.resample]
        if self.fit == "stretch":
            return image.resize((width, height), method)
        if self.fit == "crop":
            return ImageOps.fit(image, (width, height), method=method)
        return ImageOps.pad(image, (width, height), method=method, color=WHITE)


def trimmed_size(
    shapes: Sequence[tuple[int, int]], *, height: int, width: int, step: int
) -> tuple[int, int]:
    """The part of a frame that nearly all photographs need when they are fitted in whole.

    Args:
        shapes: Height and width of some photographs, in pixels.
        height: Of the frame.
        width: Of the frame.
        step: Both sides stay multiples of it, unless the frame is none itself.

    Returns:
        Height and width, at most those of the frame; those of the frame if there are no shapes.
    """
    if not shapes:
        return height, width
    sides = np.asarray(shapes, dtype=np.float64)
    scale = np.minimum(height / sides[:, 0], width / sides[:, 1])
    needed = np.quantile(sides * scale[:, None], _NEARLY_ALL, axis=0, method="higher")
    rows, columns = (step * math.ceil(round(side / step, 6)) for side in needed.tolist())
    return min(height, rows), min(width, columns)
