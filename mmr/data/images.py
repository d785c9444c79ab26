"""Product photographs: read, checked by a full decode, brought to one size."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112  # EXIF tag
_CHUNK_ROWS = 16  # images per task: few enough that those read ahead stay in memory
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class ImageProblemError(Exception):
    """Why an image cannot be used; the text completes the sentence "the image …"."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is decoded at all; a hostile file must not exhaust the memory.

    Attributes:
        max_bytes: Bytes as stored.
        max_pixels: Pixels once decoded.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000


def check_image(data: bytes, limits: ImageLimits) -> tuple[int, int]:
    """Decodes an image from its first to its last byte and returns its width and height.

    Raises:
        ImageProblemError: It is empty, too large, cut short, damaged, or no image.
    """
    _, size = _decode(data, limits)
    return size


def normalise_image(
    data: bytes, *, longest_px: int, quality: int, limits: ImageLimits | None = None
) -> bytes:
    """Brings an image to RGB JPEG with no side longer than `longest_px`.

    An RGB JPEG that is small and upright already is returned as it is, without being decoded:
    import and validation look at every byte. Transparency turns white,
    the orientation that the camera noted is applied, further frames of an animation are dropped.

    Raises:
        ImageProblemError: The image cannot be decoded.
    """
    limits = limits or ImageLimits()
    header, size = _decode(data, limits, draft_px=longest_px, pixels=False)
    plain = header.format == "JPEG" and header.mode == "RGB" and max(size) <= longest_px
    if plain and _is_upright(header):
        return data
    image, _ = _decode(data, limits, draft_px=longest_px)
    if not _is_upright(image):
        image = ImageOps.exif_transpose(image)
    image = _on_white(image)
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _is_upright(image: Image.Image) -> bool:
    return bool(image.getexif().get(_ORIENTATION, 1) == 1)


def _decode(
    data: bytes, limits: ImageLimits, *, draft_px: int | None = None, pixels: bool = True
) -> tuple[Image.Image, tuple[int, int]]:
    """Returns the decoded image and its stored size; with `draft_px` it may come smaller.

    Without `pixels` the header alone is read.
    """
    if not data:
        raise ImageProblemError("is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageProblemError(
            f"has {len(data) / 2**20:.1f} MiB, more than {limits.max_bytes / 2**20:g} MiB"
        )
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        size = image.size
        if size[0] * size[1] <= limits.max_pixels:
            if draft_px and pixels:
                image.draft("RGB", (draft_px, draft_px))
            if pixels:
                image.load()
            return image, size
    except UnidentifiedImageError as error:
        raise ImageProblemError(f"is none of {', '.join(_FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageProblemError(_too_large(str(error), limits)) from error
    except Exception as error:  # decoders of hostile bytes raise whatever they like
        raise ImageProblemError(f"is damaged or cut short: {error}") from error
    raise ImageProblemError(_too_large(f"{size[0]} x {size[1]} pixels", limits))


def _too_large(found: str, limits: ImageLimits) -> str:
    return f"is too large to decode: {found}; at most {limits.max_pixels / 1e6:g} million pixels"


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        levels = np.clip(np.asarray(image, dtype=np.float32) / 257, 0, 255)  # 16 bits to 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def map_in_order(function: Callable[[_Given], _Made], values: Iterable[_Given]) -> Iterator[_Made]:
    """Applies a function in parallel and yields the results in the order of the values.

    Decoding and resizing release Python's lock, so threads suffice, and nothing is left behind
    when the process is killed. A bounded number of values is read ahead: memory stays flat.
    """
    workers = len(os.sched_getaffinity(0))

    def run(chunk: list[_Given]) -> list[_Made]:
        return [function(value) for value in chunk]

    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[list[_Made]]] = deque()
        try:
            for chunk in _chunks(values):
                pending.append(pool.submit(run, chunk))
                if len(pending) > 2 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _chunks(values: Iterable[_Given]) -> Iterator[list[_Given]]:
    chunk: list[_Given] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
