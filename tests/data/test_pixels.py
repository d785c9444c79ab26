"""Decoding of photographs: parallel, resumable, read by row without mapping them."""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmr.config.showroom import ShowroomConfig
from mmr.data import decoding
from mmr.data.dataset import Dataset
from mmr.data.decoding import HAS_IMAGE, PIXELS, decode_all
from mmr.data.pixels import PixelStore, decoded_pixels
from mmr.errors import CorruptArtifactError
from mmr.stages.showroom import render_showroom

ROWS = 90


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("shop") / "dataset"
    render_showroom(out=out, settings=ShowroomConfig(products=ROWS, queries=60, seed=5, px=32))
    return Dataset(out)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_ROWS", 8)
    monkeypatch.setattr(decoding, "_BATCHES_A_MARK", 2)


def images(dataset: Dataset) -> list[bytes | None]:
    cells = dataset.product_table(["image"])["image"].to_pylist()
    return [cell["bytes"] if cell else None for cell in cells]


def slow_oracle(data: bytes | None, *, height: int, width: int) -> np.ndarray:
    if data is None:
        return np.full((height, width, 3), 255, dtype=np.uint8)
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (width, height))
    padded = ImageOps.pad(
        image.convert("RGB"), (width, height), Image.Resampling.BILINEAR, (255, 255, 255)
    )
    return np.asarray(padded)


def test_every_row_is_its_products_photograph_at_the_asked_size(
    shop: Dataset, tmp_path: Path
) -> None:
    store, has_image = decoded_pixels(shop, height=20, width=16, cache=tmp_path)

    expected = [slow_oracle(data, height=20, width=16) for data in images(shop)]
    np.testing.assert_array_equal(store[np.arange(ROWS)], np.stack(expected))
    assert has_image.tolist() == [data is not None for data in images(shop)]
    assert not has_image.all(), "the shop has products without a photograph"


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_change_the_result(
    shop: Dataset, tmp_path: Path, workers: int
) -> None:
    decode_all(shop, tmp_path / "some", height=16, width=16, workers=workers)
    store, _ = decoded_pixels(shop, height=16, width=16, cache=tmp_path)

    assert (tmp_path / "some" / PIXELS).read_bytes() == store[np.arange(ROWS)].tobytes()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("killed_at", [0, 15, 40, ROWS - 1])
def test_a_killed_decoding_goes_on_where_it_was_and_shows_nothing_before_it_is_whole(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    decode_all(shop, tmp_path / "whole", height=16, width=16)
    done: list[bytes | None] = []
    lock = threading.Lock()
    whole_decode = decoding.decoded

    def dying(data: bytes | None, **how: Any) -> np.ndarray:
        with lock:
            done.append(data)
            if len(done) == killed_at + 1:
                raise KeyboardInterrupt
        return whole_decode(data, **how)

    monkeypatch.setattr(decoding, "decoded", dying)
    with pytest.raises(KeyboardInterrupt):
        decode_all(shop, tmp_path / "out", height=16, width=16, workers=1)
    assert not (tmp_path / "out").exists()
    # what a killed process wrote after the last mark is not vouched for
    for name in (PIXELS, HAS_IMAGE):
        with (tmp_path / "out.decoding" / name).open("ab") as file:
            file.write(b"rubbish")
    first = len(done)

    decode_all(shop, tmp_path / "out", height=16, width=16, workers=1)

    for name in (PIXELS, HAS_IMAGE):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    marked = 16 * ((killed_at // 8 - 2) // 2)  # a mark every 16 rows; two batches are under way
    assert len(done) - first <= ROWS - max(0, marked)
    assert not (tmp_path / "out.decoding").exists()


def test_a_size_and_a_content_have_an_entry_of_their_own_which_is_used_again(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    render_showroom(out=other, settings=ShowroomConfig(products=60, queries=60, seed=6, px=32))
    cache = tmp_path / "cache"
    decoded_pixels(shop, height=8, width=8, cache=cache)
    decoded_pixels(shop, height=8, width=12, cache=cache)
    decoded_pixels(Dataset(other), height=8, width=8, cache=cache)
    entries = sorted(path for path in (cache / "photographs").iterdir() if path.is_dir())
    assert len(entries) == 3

    def never(*arguments: object, **keywords: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("mmr.data.pixels.decode_all", never)
    store, _ = decoded_pixels(shop, height=8, width=12, cache=cache)
    assert store.shape == (ROWS, 8, 12, 3)


def test_rows_in_any_order_and_repeated_are_what_an_array_would_give(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 3), dtype=np.uint8)
    (tmp_path / PIXELS).write_bytes(array.tobytes())
    store = PixelStore(tmp_path / PIXELS, array.shape)  # type: ignore[arg-type]
    random = np.random.default_rng(1)

    for _ in range(40):
        rows = random.integers(0, 50, random.integers(0, 12))
        np.testing.assert_array_equal(store[rows], array[rows])
    np.testing.assert_array_equal(store[np.arange(7, 40)], array[7:40])
    with pytest.raises(IndexError, match="50"):
        store[np.array([50])]
    with pytest.raises(IndexError, match="-1"):
        store[np.array([-1])]


def test_a_file_of_the_wrong_size_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / PIXELS).write_bytes(bytes(10))

    with pytest.raises(CorruptArtifactError, match=f"Remove {tmp_path}"):
        PixelStore(tmp_path / PIXELS, (2, 2, 2, 3))


def _resident_bytes_of_reading(file: Path, rows: int, height: int, ends: object) -> None:
    store = PixelStore(file, (rows, height, height, 3))
    before = _resident()
    for start in range(0, rows, 64):
        assert store[np.arange(start, start + 64)].sum() == 0
    ends.send(_resident() - before)  # type: ignore[attr-defined]


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_reading_all_photographs_keeps_only_a_batch_of_them_in_memory(tmp_path: Path) -> None:
    rows, height = 4096, 80
    file = tmp_path / PIXELS
    file.touch()
    whole = rows * height * height * 3
    os.truncate(file, whole)  # zeros: a sparse file reads like any other
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_resident_bytes_of_reading, args=(file, rows, height, send)
    )
    process.start()
    grown = receive.recv()
    process.join()

    assert whole == 75 * 2**20
    assert grown < 16 * 2**20


def test_processes_that_ask_at_the_same_time_get_the_same_whole_entry(
    shop: Dataset, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        sums = pool.starmap(_checksum, [(shop.path, tmp_path)] * 4)

    assert len(set(sums)) == 1
    assert [path.suffix for path in (tmp_path / "photographs").iterdir() if path.is_dir()] == [""]


def _checksum(dataset: Path, cache: Path) -> int:
    store, has_image = decoded_pixels(Dataset(dataset), height=12, width=12, cache=cache)
    return int(store[np.arange(len(store))].sum()) + int(has_image.sum())
