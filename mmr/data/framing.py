"""How a photograph of any shape is brought to the size that a vision network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps

WHITE = (255, 255, 255)
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
