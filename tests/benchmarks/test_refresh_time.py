"""The refresh benchmark adds products that nobody has seen, and keeps all others as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from mmr.data.dataset import Dataset
from tests.benchmarks.test_train_benchmarks import load


def test_new_products_differ_from_known_ones_in_id_title_and_photograph(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    benchmark, known = load("refresh_time"), Dataset(tiny_dataset)

    written = benchmark._write_dataset(
        tiny_dataset, tmp_path / "feed", share=5 / len(known), seed=1
    )
    assert written == (len(known), 5)
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


def test_a_feed_of_parquet_files_gets_one_more_and_keeps_its_own(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    known, shop = Dataset(tiny_dataset), tmp_path / "shop"
    shop.mkdir()
    table = known.product_table(["product_id", "title", "image"])
    pq.write_table(table.slice(0, 70), shop / "products-0.parquet")
    pq.write_table(table.slice(70), shop / "products-1.parquet")
    (shop / "judgements.tsv").write_text("query_id\tproduct_id\tgrade\n")

    written = load("refresh_time")._write_shards(
        shop, tmp_path / "feed", share=5 / len(known), seed=1
    )

    assert written == (len(known), 5)
    own = {path.name for path in shop.iterdir()}
    assert {path.name for path in (tmp_path / "feed").iterdir()} == own | {"products-new.parquet"}
    for name in own:
        assert (tmp_path / "feed" / name).read_bytes() == (shop / name).read_bytes()
    added = pq.read_table(tmp_path / "feed" / "products-new.parquet").to_pylist()
    known_ids, known_pictures = (
        set(known.product_ids()),
        {image["bytes"] for image in table["image"].to_pylist() if image},
    )
    assert not {row["product_id"] for row in added} & known_ids
    assert not {row["image"]["bytes"] for row in added if row["image"]} & known_pictures
