"""Decoded photographs, made once for all stages and kept by the dataset's content and their size.

CACHE/photographs/
  CONTENT-HEIGHTxWIDTH/           whole, never changed
    pixels.bin                    (products, height, width, 3) uint8
    has_image.bin                 (products,) bool
    progress.json                 rows, all of them
  CONTENT-HEIGHTxWIDTH.decoding/  under way; see `mmr.data.decoding`
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmr.atomic import make_once
from mmr.data.dataset import Dataset
from mmr.data.decoding import HAS_IMAGE, PIXELS, decode_all
from mmr.data.framing import Framing
from mmr.errors import CorruptArtifactError
from mmr.types import BoolArray, Int64Array

_WHOLE = Framing()


class PixelStore:
    """Photographs on disk, all of one size, read by row.

    Rows are read, not mapped: a process holds the rows that it asked for and no more, however large
    the file. Repeated reads come from the operating system's page cache. Threads may share a store.

    Args:
        file: `PIXELS` of a whole cache entry.
        shape: `(products, height, width, 3)`.

    Raises:
        CorruptArtifactError: The file has another size.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self._row_bytes = int(np.prod(shape[1:]))
        self._file = file
        found, wanted = file.stat().st_size, shape[0] * self._row_bytes
        if found != wanted:
            raise CorruptArtifactError(
                f"{file} holds {found} bytes, not {wanted}. Remove {file.parent}; it is made again."
            )
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        """Number of products."""
        return self.shape[0]

    def __getitem__(self, rows: Int64Array) -> NDArray[np.uint8]:
        """Photographs of some products, `(rows, height, width, 3)`, as a new array."""
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), dtype=np.uint8)
        if not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} photographs")
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        flat = pixels.reshape(-1)
        runs = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # neighbours are read at once
        for start, end in zip(runs, np.append(runs[1:], len(rows)), strict=True):
            part = flat[start * self._row_bytes : end * self._row_bytes]
            self._read(memoryview(part), int(rows[start]))  # type: ignore[arg-type]
        return pixels

    def _read(self, target: memoryview, row: int) -> None:
        offset, done = row * self._row_bytes, 0
        while done < len(target):  # one call reads 2 GiB at most
            count = os.preadv(self._descriptor, [target[done:]], offset + done)
            if count == 0:
                raise CorruptArtifactError(
                    f"{self._file} was cut short. Remove {self._file.parent}; it is made again."
                )
            done += count


def decoded_pixels(
    dataset: Dataset, *, height: int, width: int, cache: Path, framing: Framing = _WHOLE
) -> tuple[PixelStore, BoolArray]:
    """All product photographs at one size, and which products have one.

    By default they are fitted in and padded with white, so their shape stays true. Of several
    processes that ask at the same time one decodes and the others wait for it.

    Args:
        dataset: Its content hash is part of the cache's key.
        height: Pixels.
        width: Pixels.
        cache: Directory of content-addressed results.
        framing: How photographs of another shape are brought to that size.

    Returns:
        `(products, height, width, 3)` uint8 on disk, white where there is no photograph; and
        `(products,)` bool.
    """
    size = f"{height}x{width}{framing.suffix}"
    entry = cache / "photographs" / f"{dataset.manifest.content_hash[:24]}-{size}"
    make_once(
        entry, lambda: decode_all(dataset, entry, height=height, width=width, framing=framing)
    )
    store = PixelStore(entry / PIXELS, (len(dataset), height, width, 3))
    return store, np.fromfile(entry / HAS_IMAGE, dtype=np.bool_)
