"""Imports that are forced, fail, are killed or read a large feed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.atomic import LEFTOVER_AGE_S
from mmr.config.data import ImportConfig
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, DataContractError
from mmr.stages.import_data import import_data
from tests.data.small_feeds import jpeg, run, write_feed


def test_force_replaces_a_dataset_but_nothing_else(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    settings = ImportConfig()
    import_data(source=str(feed), out=tmp_path / "out", settings=settings)
    with pytest.raises(ArtifactError, match="--force"):
        import_data(source=str(feed), out=tmp_path / "out", settings=settings)
    import_data(source=str(feed), out=tmp_path / "out", settings=settings, replace=True)

    with pytest.raises(ArtifactError, match=r"has no dataset\.json"):
        import_data(source=str(feed), out=feed, settings=settings, replace=True)
    assert (feed / "products.csv").is_file()


def test_failed_import_leaves_the_older_dataset_as_it_was(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    before = run(feed, tmp_path / "out").manifest
    write_feed(feed, products="product_id,title\np1,A1\np1,B2\n")

    with pytest.raises(DataContractError):
        import_data(source=str(feed), out=tmp_path / "out", settings=ImportConfig(), replace=True)

    assert Dataset(tmp_path / "out").manifest == before


def test_killed_import_leaves_no_dataset_and_runs_again(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    code = (
        "from mmr.stages.import_data import import_data\n"
        "from mmr.config.data import ImportConfig\n"
        "from mmr.data import importing, formats\n"
        "import pathlib, time\n"
        "whole = importing.read_products\n"
        "def slow(*a, **k):\n"
        "    yield from whole(*a, **k)\n"
        "    print('begun', flush=True); time.sleep(60)\n"
        "importing.read_products = slow\n"
        f"import_data(source={str(feed)!r}, out=pathlib.Path({str(tmp_path / 'out')!r}), "
        "settings=ImportConfig())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "out").exists()

    assert run(feed, tmp_path / "out").manifest.products == 2
    (leftover,) = tmp_path.glob(".out.partial-*")
    long_ago = time.time() - 2 * LEFTOVER_AGE_S
    for path in (*leftover.rglob("*"), leftover):
        os.utime(path, (long_ago, long_ago))
    import_data(source=str(feed), out=tmp_path / "out", settings=ImportConfig(), replace=True)
    assert not list(tmp_path.glob(".out.partial-*"))


def test_import_is_fast_enough_for_large_feeds(tmp_path: Path) -> None:
    picture = jpeg((60, 80))
    table = pa.table(
        {
            "product_id": [str(i) for i in range(3000)],
            "title": [f"Title {i}" for i in range(3000)],
            "image": [{"bytes": picture, "path": None}] * 3000,
        }
    )
    pq.write_table(table, tmp_path / "products.parquet")
    start = time.monotonic()

    run(tmp_path / "products.parquet", tmp_path / "out")

    assert time.monotonic() - start < 3000 / 44_072 * 90
