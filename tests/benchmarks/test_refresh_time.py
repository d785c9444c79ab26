"""The refresh benchmark adds products that nobody has seen, and keeps all others as they are."""

from __future__ import annotations

from pathlib import Path

from mmr.data.dataset import Dataset
from tests.benchmarks.test_train_benchmarks import load


def test_new_products_differ_from_known_ones_in_id_title_and_photograph(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    benchmark, known = load("refresh_time"), Dataset(tiny_dataset)

    benchmark._write_feed(known, tmp_path / "feed", new=5, seed=1)

    feed = Dataset(tmp_path / "feed")
    columns = ["product_id", "title", "image"]
    before = [row for batch in known.product_batches(columns) for row in batch.to_pylist()]
    after = [row for batch in feed.product_batches(columns) for row in batch.to_pylist()]
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert len(added) == 5
    for column in ("product_id", "title"):
        assert not {row[column] for row in added} & {row[column] for row in before}
    photographs = {row["image"]["bytes"] for row in before if row["image"]}
    assert not {row["image"]["bytes"] for row in added if row["image"]} & photographs
    assert feed.judgements().equals(known.judgements())
