"""Decodes a dataset's photographs in parallel; killed on the way, it goes on where it was."""

from __future__ import annotations

import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmr.atomic import fsync_path, write_json
from mmr.data.dataset import Dataset
from mmr.data.framing import Framing
from mmr.progress import progress_bar

PIXELS, HAS_IMAGE = "pixels.bin", "has_image.bin"
_WHOLE = Framing()
_PROGRESS = "progress.json"
_ROWS = 256  # decoded as one batch
_AHEAD = 2  # batches under way while one is written
_BATCHES_A_MARK = 16  # so often the files are flushed, and progress is recorded
_MOST_WORKERS = 16  # reading and writing keep up with no more

Batch = list[bytes | None]


def decode_all(
    dataset: Dataset,
    out: Path,
    *,
    height: int,
    width: int,
    framing: Framing = _WHOLE,
    workers: int | None = None,
) -> None:
    """Writes all photographs at one size into the new directory `out`, white where there is none.

    Work goes on in `OUT.decoding`, which becomes `out` when it is whole. Only one process may do so
    at a time.

    Args:
        dataset: What is decoded, in catalogue order.
        out: Receives `PIXELS` (`(products, height, width, 3)` uint8) and `HAS_IMAGE`
            (`(products,)` bool).
        height: Pixels.
        width: Pixels.
        framing: How photographs of another shape are brought to that size.
        workers: Threads (Pillow lets go of the interpreter lock while it decodes and resizes); as
            many as there are cores when None. They do not change the result.
    """
    scratch = out.with_name(f"{out.name}.decoding")
    scratch.mkdir(parents=True, exist_ok=True)
    done = _recorded(scratch)
    decode = partial(decoded, height=height, width=width, framing=framing)
    with (
        _continued(scratch / PIXELS, done * height * width * 3) as pixels,
        _continued(scratch / HAS_IMAGE, done) as has_image,
        ThreadPoolExecutor(workers or _cores()) as pool,
        progress_bar("decode images", len(dataset)) as bar,
    ):
        bar.advance(done)
        batches = enumerate(_decoded_batches(pool, decode, _image_bytes(dataset, skip=done)), 1)
        for number, (batch, images) in batches:
            pixels.write(np.stack(images).tobytes())
            has_image.write(bytes(data is not None for data in batch))
            done += len(batch)
            if number % _BATCHES_A_MARK == 0:
                _record(scratch, done, pixels, has_image)
            bar.advance(len(batch))
        _record(scratch, done, pixels, has_image)
    fsync_path(scratch)
    scratch.rename(out)
    fsync_path(out.parent)


def decoded(
    data: bytes | None, *, height: int, width: int, framing: Framing = _WHOLE
) -> NDArray[np.uint8]:
    """One photograph at the size asked for, white where there is none: `(height, width, 3)`."""
    if data is None:
        return np.full((height, width, 3), 255, dtype=np.uint8)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (width, height))  # JPEG: decode at a fraction of the size
        fitted = framing.apply(image.convert("RGB"), height=height, width=width)
    return np.asarray(fitted, dtype=np.uint8)


def photograph_shapes(dataset: Dataset, *, most: int) -> list[tuple[int, int]]:
    """Height and width in pixels of the catalogue's first photographs, none of them decoded."""
    shapes: list[tuple[int, int]] = []
    for batch in _image_bytes(dataset, skip=0):
        for data in batch:
            if data is not None:
                with Image.open(io.BytesIO(data)) as image:
                    shapes.append((image.height, image.width))
        if len(shapes) >= most:
            break
    return shapes[:most]


def _cores() -> int:
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)))


def _image_bytes(dataset: Dataset, *, skip: int) -> Iterator[Batch]:
    for batch in dataset.product_batches(["image"], rows=_ROWS):
        if skip >= len(batch):
            skip -= len(batch)
            continue
        images = batch.column("image").slice(skip).to_pylist()
        skip = 0
        yield [image["bytes"] if image else None for image in images]


def _decoded_batches(
    pool: ThreadPoolExecutor,
    decode: Callable[[bytes | None], NDArray[np.uint8]],
    batches: Iterator[Batch],
) -> Iterator[tuple[Batch, list[NDArray[np.uint8]]]]:
    """Decodes in order, with the coming batches under way already."""
    pending: deque[tuple[Batch, Iterator[NDArray[np.uint8]]]] = deque()
    for batch in batches:
        pending.append((batch, pool.map(decode, batch)))
        if len(pending) > _AHEAD:
            first, images = pending.popleft()
            yield first, list(images)
    for first, images in pending:
        yield first, list(images)


def _continued(file: Path, size: int) -> BinaryIO:
    """Opens a file for appending after its first `size` bytes; the rest is not vouched for."""
    file.touch()
    os.truncate(file, size)
    return file.open("ab")


def _record(scratch: Path, rows: int, *files: BinaryIO) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())
    write_json(scratch / _PROGRESS, {"rows": rows})


def _recorded(scratch: Path) -> int:
    progress = scratch / _PROGRESS
    return int(json.loads(progress.read_text("utf-8"))["rows"]) if progress.is_file() else 0
