"""Feeds as shops have them: each form becomes the same dataset."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmr.config.data import ImportConfig
from mmr.data.dataset import Dataset
from mmr.data.revision import dataset_revision, git_revision
from mmr.stages.import_data import import_data

QUERIES = [{"query_id": 7, "query": " red sofa ", "kind": "colour+type", "split": "Train"}]
JUDGEMENTS = [{"query_id": 7, "product_id": 21340, "grade": 2.0}]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        pd.DataFrame(rows, dtype=object).to_csv(path, index=False, sep=separator)


def run(source: Path, out: Path, **settings: Any) -> Dataset:
    import_data(source=str(source), out=out, settings=ImportConfig(**settings))
    return Dataset(out)


def products(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for batch in dataset.product_batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"product_id": 21340, "title": 'Red, "big" sofa', "image": "a.jpg", "stock": 3},
        {"product_id": 21341, "title": "Stuhl für\nBüro ☃", "image": None, "stock": None},
    ]
    write_table(tmp_path / f"products{suffix}", rows)
    write_table(tmp_path / f"queries{suffix}", QUERIES)
    write_table(tmp_path / f"judgements{suffix}", JUDGEMENTS)
    (tmp_path / "a.jpg").write_bytes(jpeg())

    dataset = run(tmp_path, tmp_path / "out")

    first, second = products(dataset)
    assert first == {
        "product_id": "21340",
        "title": 'Red, "big" sofa',
        "description": "",
        "image": {"bytes": jpeg(), "path": "a.jpg"},
        "stock": "3",
    }
    assert (second["title"], second["image"], second["stock"]) == ("Stuhl für\nBüro ☃", None, "")
    assert dataset.queries().to_dict("records") == [
        {"query_id": "7", "query": "red sofa", "kind": "colour+type", "split": "train"}
    ]
    assert dataset.judgements().to_dict("records") == [
        {"query_id": "7", "product_id": "21340", "grade": 2, "weight": 1.0}
    ]
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""


@pytest.mark.parametrize("nested", [True, False])
def test_image_bytes_in_several_parquet_files(tmp_path: Path, nested: bool) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if nested else pa.binary()
    value: Any = {"bytes": jpeg(), "path": None} if nested else jpeg()
    for part in (0, 1):
        columns = {
            "product_id": pa.array([f"p{part}", f"r{part}"]),
            "title": pa.array(["A sofa", "B sofa"]),
            "image": pa.array([value, None], type=kind),
            "thumbnail": pa.array([b"x", b"y"]),
        }
        pq.write_table(pa.table(columns), tmp_path / f"products-{part}-of-2.parquet")

    report = import_data(source=str(tmp_path), out=tmp_path / "out", settings=ImportConfig())

    rows = products(Dataset(tmp_path / "out"))
    assert [row["product_id"] for row in rows] == ["p0", "r0", "p1", "r1"]
    assert [row["image"] and row["image"]["bytes"] for row in rows] == [jpeg(), None] * 2
    assert report.products_without_image == 2
    assert any("thumbnail" in warning for warning in report.warnings)


def test_columns_are_mapped_and_the_rest_become_attributes(tmp_path: Path) -> None:
    rows = [{"sku": "s1", "name": "Sofa", "title": "Dr", "brand": "Acme", "cold_start": "yes"}]
    write_table(tmp_path / "shop.csv", rows)

    dataset = run(
        tmp_path / "shop.csv", tmp_path / "out", columns={"product_id": "sku", "title": "name"}
    )

    (row,) = products(dataset)
    assert (row["product_id"], row["title"], row["brand"]) == ("s1", "Sofa", "Acme")
    assert row["cold_start"] is True
    assert dataset.manifest.attributes == ["brand", "cold_start"]


def test_semicolons_and_byte_order_mark_as_spreadsheets_write_them(tmp_path: Path) -> None:
    text = "\ufeffproduct_id;title\r\n1;Sofa, red\r\n"
    (tmp_path / "shop.csv").write_text(text, encoding="utf-8", newline="")

    assert products(run(tmp_path / "shop.csv", tmp_path / "out"))[0]["title"] == "Sofa, red"


def test_line_numbers_stay_right_after_quoted_newlines(tmp_path: Path) -> None:
    text = 'product_id,title\n1,"three\n\nlines"\n\n,"lost\nid"\n2,Sofa\n'
    (tmp_path / "shop.csv").write_text(text)

    run(tmp_path / "shop.csv", tmp_path / "out", max_rejects=0.5)

    (reject,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(reject)["line"] == 6


def test_control_characters_leave_the_text_and_are_counted(tmp_path: Path) -> None:
    write_table(tmp_path / "shop.jsonl", [{"product_id": "1", "title": "So\x00fa\ud800 \x1b[1m"}])

    report = import_data(
        source=str(tmp_path / "shop.jsonl"), out=tmp_path / "out", settings=ImportConfig()
    )

    assert products(Dataset(tmp_path / "out"))[0]["title"] == "So fa   [1m"
    assert report.cleaned_texts == 1


def test_images_are_found_by_product_id_where_the_feed_names_none(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "s1.jpg").write_bytes(jpeg())
    rows = [{"product_id": "s1", "title": "Sofa"}, {"product_id": "s2", "title": "Bed"}]
    write_table(tmp_path / "shop.csv", rows)

    dataset = run(tmp_path / "shop.csv", tmp_path / "out", images=tmp_path / "photos")

    assert [row["image"] is not None for row in products(dataset)] == [True, False]


def test_absolute_image_paths_leave_no_trace_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    rows = [{"product_id": "1", "title": "Sofa", "image": str(tmp_path / "a.jpg")}]
    write_table(tmp_path / "shop.csv", rows)

    assert products(run(tmp_path / "shop.csv", tmp_path / "out"))[0]["image"]["path"] == "a.jpg"


def test_feed_without_judgements_is_imported_with_a_warning(tmp_path: Path) -> None:
    write_table(tmp_path / "shop.csv", [{"product_id": "1", "title": "Sofa"}])

    report = import_data(
        source=str(tmp_path / "shop.csv"), out=tmp_path / "out", settings=ImportConfig()
    )

    assert any("--judgements FILE" in warning for warning in report.warnings)


def test_the_same_feed_gives_the_same_content_hash(tmp_path: Path) -> None:
    write_table(tmp_path / "shop.csv", [{"product_id": "1", "title": "Sofa"}])

    first = run(tmp_path / "shop.csv", tmp_path / "one")
    second = run(tmp_path / "shop.csv", tmp_path / "two")

    assert first.manifest.content_hash == second.manifest.content_hash


def test_the_showroom_is_a_source(tmp_path: Path) -> None:
    source = "showroom:products=20,queries=10,seed=3"

    report = import_data(source=source, out=tmp_path / "out", settings=ImportConfig())

    assert report.products == 20
    assert Dataset(tmp_path / "out").manifest.content_hash == report.content_hash


def test_revision_is_the_one_dvc_recorded_and_gone_once_the_files_change(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "data" / "sub" / "b.txt").write_text("b")
    # The md5 that dvc 3.67 writes for this directory.
    md5 = "90d9fe10b4a0cddaefbe4549457984d9.dir"
    lock = f"schema: '2.0'\nstages:\n  x:\n    outs:\n    - path: data\n      md5: {md5}\n"
    (tmp_path / "dvc.lock").write_text(lock)

    assert dataset_revision(tmp_path / "data") == md5
    assert dataset_revision(tmp_path / "data" / "sub") is None
    (tmp_path / "data" / "a.txt").write_text("changed")
    assert dataset_revision(tmp_path / "data") is None


def test_git_revision_says_when_tracked_files_differ(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    assert git_revision(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "a")
    (tmp_path / "untracked.txt").write_text("b")
    revision = git_revision(tmp_path)
    assert revision is not None
    assert len(revision) == 40
    (tmp_path / "a.txt").write_text("b")
    assert git_revision(tmp_path / "a.txt") == f"{revision}-dirty"
