"""Decoded photographs, once for all stages: a memory-mapped array keyed by content and size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mmr.atomic import new_directory
from mmr.data.dataset import Dataset
from mmr.progress import progress_bar
from mmr.types import BoolArray

WHITE = (255, 255, 255)
_ROWS = 256
_DECODERS = 4  # threads; Pillow lets go of the interpreter lock while it decodes


def decoded_pixels(
    dataset: Dataset, *, height: int, width: int, cache: Path
) -> tuple[NDArray[np.uint8], BoolArray]:
    """All product photographs at one size, and which products have one.

    Photographs are fitted in and padded with white, so their shape stays true. Pages of the array
    are read from disk on demand and given back under memory pressure.

    Args:
        dataset: Its content hash is part of the cache's key.
        height: Pixels.
        width: Pixels.
        cache: Directory of content-addressed results.

    Returns:
        `(products, height, width, 3)` uint8, memory-mapped, white where there is no photograph;
        and `(products,)` bool.
    """
    entry = cache / "pixels" / f"{dataset.manifest.content_hash[:24]}-{height}x{width}"
    if not entry.is_dir():
        with new_directory(entry) as scratch:
            _decode_all(dataset, scratch, height=height, width=width)
    return np.load(entry / "pixels.npy", mmap_mode="r"), np.load(entry / "has_image.npy")


def _decode_all(dataset: Dataset, out: Path, *, height: int, width: int) -> None:
    shape = (len(dataset), height, width, 3)
    pixels = np.lib.format.open_memmap(out / "pixels.npy", "w+", dtype=np.uint8, shape=shape)
    has_image = np.zeros(len(dataset), dtype=np.bool_)
    row = 0
    with ThreadPoolExecutor(_DECODERS) as pool, progress_bar("decode images", len(dataset)) as bar:
        for batch in _image_bytes(dataset):
            decoded = pool.map(lambda data: _decode(data, height=height, width=width), batch)
            for data, image in zip(batch, decoded, strict=True):
                pixels[row] = image
                has_image[row] = data is not None
                row += 1
            bar.advance(len(batch))
    pixels.flush()
    np.save(out / "has_image.npy", has_image)


def _image_bytes(dataset: Dataset) -> Iterator[list[bytes | None]]:
    for batch in dataset.product_batches(["image"], rows=_ROWS):
        images = batch.column("image").to_pylist()
        yield [image["bytes"] if image else None for image in images]


def _decode(data: bytes | None, *, height: int, width: int) -> NDArray[np.uint8]:
    if data is None:
        return np.full((height, width, 3), 255, dtype=np.uint8)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (width, height))  # JPEG: decode at a fraction of the size
        fitted = ImageOps.pad(
            image.convert("RGB"), (width, height), method=Image.Resampling.BILINEAR, color=WHITE
        )
    return np.asarray(fitted, dtype=np.uint8)
