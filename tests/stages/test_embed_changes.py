"""What a refresh of a real, tiny shop takes over from its champion and what it embeds anew."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.refresh import RefreshConfig
from mmr.data.dataset import Dataset
from mmr.errors import CorruptArtifactError, DataContractError
from mmr.indexing import ProductIndex
from mmr.release.bundle import Release
from mmr.stages.catalogue_changes import compare_catalogues
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.workspace import Workspace
from tests.stages.refreshed_shop import ANYTHING, NEW, Feed, Shop, resealed, without

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def reworded(product: dict[str, Any]) -> dict[str, Any]:
    return (
        {**product, "title": "blue glass vase"} if product["product_id"].endswith("7") else product
    )


def test_same_catalogue_changes_nothing_and_embeds_nothing(shop: Shop, tmp_path: Path) -> None:
    report = shop.refresh(shop.dataset, tmp_path)

    assert not report.has_changes
    assert (report.reused, report.embedded) == (120, 0)
    assert {path.name for path in (tmp_path / "vectors").iterdir()} == {
        "changes.json",
        "changes.parquet",
    }


def test_merged_vectors_are_those_of_an_embedding_of_everything(shop: Shop, tmp_path: Path) -> None:
    def edit(product: dict[str, Any]) -> dict[str, Any] | None:
        kept = without("3")(product)
        return kept and reworded(kept)

    feed = Feed(edit, (NEW,)).write(shop.dataset, tmp_path / "feed")
    report = shop.refresh(feed, tmp_path, settings=ANYTHING)
    embed_catalogue(
        dataset=feed, model=tmp_path / "model", out=tmp_path / "all", cache=tmp_path / "cache"
    )

    assert (report.new, report.changed, report.removed) == (1, 12, 12)
    assert (report.reused, report.embedded) == (96, 13)
    merged, whole = (np.load(tmp_path / name / "vectors.npy") for name in ("vectors", "all"))
    np.testing.assert_allclose((merged * whole).sum(axis=1), 1, atol=1e-3)
    products, expected = (
        pq.read_table(tmp_path / name / "products.parquet") for name in ("vectors", "all")
    )
    for column in ("product_id", "title", "has_text", "has_image", "content"):
        assert products[column].to_pylist() == expected[column].to_pylist()
    np.testing.assert_allclose(
        products["image_weight"].to_pandas(), expected["image_weight"].to_pandas(), atol=2e-2
    )


def test_vectors_of_unchanged_products_are_taken_over_byte_for_byte(
    shop: Shop, tmp_path: Path
) -> None:
    feed = Feed(lambda product: product, (NEW,)).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    release = Release.open(shop.champion)
    index = ProductIndex.open(
        release.index_dir, encoder_fingerprint=release.manifest.encoder_fingerprint
    )

    np.testing.assert_array_equal(np.load(tmp_path / "vectors/vectors.npy")[:-1], index.vectors())


def test_product_that_only_got_another_id_is_not_embedded_again(shop: Shop, tmp_path: Path) -> None:
    def renamed(product: dict[str, Any]) -> dict[str, Any]:
        return {**product, "product_id": "x" + product["product_id"]}

    feed = Feed(renamed).write(shop.dataset, tmp_path / "feed")
    report = shop.refresh(feed, tmp_path, settings=ANYTHING)

    assert (report.new, report.removed, report.embedded) == (120, 120, 0)


def test_photograph_alone_makes_a_product_a_changed_one(shop: Shop, tmp_path: Path) -> None:
    pictured = [
        row["product_id"]
        for batch in Dataset(shop.dataset).product_batches(["product_id", "image"])
        for row in batch.to_pylist()
        if row["image"]
    ]

    def bare(product: dict[str, Any]) -> dict[str, Any]:
        return {**product, "image": None} if product["product_id"] == pictured[11] else product

    feed = Feed(bare).write(shop.dataset, tmp_path / "feed")

    assert shop.refresh(feed, tmp_path).changed == 1


def test_feed_of_another_shop_is_refused(shop: Shop, tmp_path: Path) -> None:
    def foreign(product: dict[str, Any]) -> dict[str, Any]:
        return {**product, "product_id": "z" + product["product_id"]}

    feed = Feed(foreign).write(shop.dataset, tmp_path / "feed")

    with pytest.raises(DataContractError, match="shares no product id with release"):
        shop.refresh(feed, tmp_path)


def test_feed_that_lacks_too_much_is_refused_and_the_cure_it_names_works(
    shop: Shop, tmp_path: Path
) -> None:
    feed = Feed(without("1", "2")).write(shop.dataset, tmp_path / "feed")

    with pytest.raises(DataContractError, match=r"24 of the 120 .*\(20\.0%\)") as refused:
        shop.refresh(feed, tmp_path)
    assert not (tmp_path / "vectors").exists()

    share = float(str(refused.value).rpartition("max_removed_share=")[2].rstrip("."))
    assert shop.refresh(feed, tmp_path, settings=RefreshConfig(max_removed_share=share)).removed


def test_champion_that_was_tampered_with_breeds_nothing(shop: Shop, tmp_path: Path) -> None:
    copy = shutil.copytree(shop.champion, tmp_path / "champion")
    golden = copy / "golden.json"
    golden.chmod(0o644)
    golden.write_text(golden.read_text() + " ")
    tampered = Shop(shop.dataset, copy, shop.workspace, shop.registry)

    with pytest.raises(CorruptArtifactError, match=r"golden\.json differs"):
        tampered.refresh(shop.dataset, tmp_path)


@pytest.fixture
def unhashed(shop: Shop, tmp_path: Path) -> Shop:
    """The shop with a champion from before the hashes of products were recorded."""
    copy = shutil.copytree(shop.champion, tmp_path / "old-champion")
    products = copy / "index" / "products.parquet"
    products.chmod(0o644)
    pq.write_table(pq.read_table(products).drop_columns(["content"]), products)
    manifest = Release.open(copy).manifest
    workspace = Workspace.open(tmp_path / "old-workspace", create=True)
    return Shop(shop.dataset, resealed(copy, manifest), workspace, shop.registry)


def test_older_release_is_known_by_the_dataset_that_its_run_left(
    unhashed: Shop, tmp_path: Path
) -> None:
    left = unhashed.workspace.pipeline_runs / "artifacts" / "run-1" / "import-data" / "dataset"
    shutil.copytree(unhashed.dataset, left)
    feed = Feed(reworded).write(unhashed.dataset, tmp_path / "feed")

    report = unhashed.refresh(feed, tmp_path)
    assert (report.changed, report.embedded) == (12, 12)


def test_older_release_whose_dataset_is_gone_is_embedded_anew(
    unhashed: Shop, tmp_path: Path
) -> None:
    report = unhashed.refresh(unhashed.dataset, tmp_path)

    assert (report.changed, report.embedded, report.reused) == (120, 120, 0)


CATALOGUE = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([b"1", b"2", b"3"]))


@given(now=CATALOGUE, before=CATALOGUE)
def test_changes_are_those_that_a_product_by_product_look_finds(
    now: dict[str, bytes], before: dict[str, bytes]
) -> None:
    changes = compare_catalogues(
        list(now),
        list(now.values()),
        before_ids=list(before),
        before_contents=list(before.values()),
    )

    assert set(changes.new) == {name for name in now if name not in before}
    assert set(changes.removed) == {name for name in before if name not in now}
    assert set(changes.changed) == {
        name for name in now if name in before and now[name] != before[name]
    }
    assert changes.is_empty == (now == before)
    contents, known = list(now.values()), list(before.values())
    assert sorted([*changes.reused, *changes.embedded]) == list(range(len(now)))
    assert [contents[row] for row in changes.reused] == [known[row] for row in changes.reused_from]
    assert not {contents[row] for row in changes.embedded} & set(known)
    ids, own = list(now), list(before)
    taken = {
        ids[row]: own[source]
        for row, source in zip(changes.reused, changes.reused_from, strict=True)
    }
    unchanged = {name for name in now if before.get(name) == now[name]}
    assert {name: taken[name] for name in unchanged} == {name: name for name in unchanged}
