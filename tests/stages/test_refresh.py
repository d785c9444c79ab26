"""A refresh of a real, tiny shop: champion with text and image tower, newer feeds, real indexes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.index import IndexConfig
from mmr.config.model import FusionKind
from mmr.config.refresh import RefreshConfig
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, CorruptArtifactError, DataContractError, IndexMismatchError
from mmr.indexing import ProductIndex
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
from mmr.release.bundle import Release
from mmr.release.manifest import ReleaseManifest
from mmr.release.origin import TrainingOrigin
from mmr.release.query_profile import QueryProfile
from mmr.stages.build_index import build_index
from mmr.stages.catalogue_changes import ChangeReport, compare_catalogues
from mmr.stages.check_refresh import RefreshVerdict, check_refresh
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.embed_changes import embed_changes
from mmr.stages.find_champion import find_champion
from mmr.stages.register_release import register_release
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LIMITS = RefreshConfig()
ANYTHING = RefreshConfig(max_removed_share=1.0)
JUDGED = RefreshConfig(min_judged_queries=5, metric_margin=0.2)  # the model is not trained
Edit = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class Shop:
    """A workspace with a champion, and the dataset that it was built from."""

    dataset: Path
    champion: Path
    workspace: Workspace
    registry: InMemoryTracking

    def refresh(self, feed: Path, out: Path, *, settings: RefreshConfig = LIMITS) -> ChangeReport:
        return embed_changes(
            dataset=feed,
            champion=self.champion,
            out=out / "vectors",
            model_out=out / "model",
            settings=settings,
            workspace=self.workspace,
        )

    def check(self, feed: Path, out: Path, *, settings: RefreshConfig = LIMITS) -> RefreshVerdict:
        build_index(vectors=out / "vectors", out=out / "index", settings=IndexConfig())
        return check_refresh(
            dataset=feed,
            vectors=out / "vectors",
            index=out / "index",
            champion=self.champion,
            out=out / "gate",
            settings=settings,
        )


@dataclass(frozen=True)
class Feed:
    """Edits that make a newer feed of a dataset."""

    edit: Edit = field(default=lambda product: product)
    added: tuple[dict[str, Any], ...] = ()
    with_queries: bool = True

    def write(self, source: Path, out: Path) -> Path:
        data = Dataset(source)
        products = [
            edited
            for batch in data.product_batches(["product_id", "title", "description", "image"])
            for product in batch.to_pylist()
            if (edited := self.edit(product)) is not None
        ]
        kept = {product["product_id"] for product in products}
        queries, judgements = data.queries(), data.judgements()
        rows = slice(None) if self.with_queries else slice(0)
        with new_dataset(out, attributes={}) as writer:
            writer.add_products([*products, *self.added])
            writer.set_queries(queries.iloc[rows])
            writer.set_judgements(judgements[judgements["product_id"].isin(kept)].iloc[rows])
            writer.finish(name="shop", prepared=None)
        return out


NEW = {"product_id": "new-1", "title": "white oak bookcase", "description": None, "image": None}


def reworded(product: dict[str, Any]) -> dict[str, Any]:
    return (
        {**product, "title": "blue glass vase"} if product["product_id"].endswith("7") else product
    )


def without(*endings: str) -> Edit:
    return lambda product: None if product["product_id"].endswith(endings) else product


@pytest.fixture(scope="module")
def shop(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    root = tmp_path_factory.mktemp("refresh")
    workspace = Workspace.open(root / "workspace", create=True)
    registry = InMemoryTracking()
    torch.manual_seed(0)
    retriever = new_text_retriever(tiny_settings.model)
    retriever.with_images()
    retriever.with_fusion(FusionKind.BILINEAR_EXPERTS)
    (root / "model").mkdir()
    save_retriever(retriever.eval(), root / "model", training={})
    embed_catalogue(
        dataset=tiny_dataset, model=root / "model", out=root / "vectors", cache=workspace.cache
    )
    build_index(vectors=root / "vectors", out=root / "index", settings=IndexConfig())
    (root / "gate").mkdir()
    record = {"decision": "promote", "metrics": {"candidate": {"overall": {"ndcg_at_10": 0.5}}}}
    (root / "gate" / "gate.json").write_text(json.dumps(record))
    registered = register_release(
        dataset=tiny_dataset,
        model=root / "model",
        index=root / "index",
        gate=root / "gate",
        releases=workspace.releases,
        registry=registry,
        settings=tiny_settings.model_dump(mode="json"),
    )
    registry.promote(registered.release_id, expected=None, why="", who="")
    return Shop(tiny_dataset, registered.path, workspace, registry)


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
    resealed = _resealed(copy, manifest)
    return Shop(shop.dataset, resealed, workspace, shop.registry)


def _resealed(release: Path, manifest: ReleaseManifest) -> Path:
    from mmr.hashing import sha256_file

    products = release / "index" / "products.parquet"
    index_file = release / "index" / "index.json"
    index = json.loads(index_file.read_text())
    index["products"] = {"bytes": products.stat().st_size, "sha256": sha256_file(products)}
    index_file.chmod(0o644)
    index_file.write_text(json.dumps(index))
    files = {name: sha256_file(release / name) for name in manifest.files}
    content = manifest.model_dump(exclude={"release_id", "created_at", "files"})
    changed = ReleaseManifest.create(created_at=manifest.created_at, files=files, **content)
    (release / "release.json").chmod(0o644)
    (release / "release.json").write_text(changed.model_dump_json())
    return release


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


def test_refresh_that_loses_nothing_is_promoted_and_judged_by_its_own_queries(
    shop: Shop, tmp_path: Path
) -> None:
    feed = Feed(without("30"), (NEW,)).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    verdict = shop.check(feed, tmp_path, settings=JUDGED)

    assert verdict.decision == "promote", verdict.refusal
    rules = {reason.rule: reason.detail for reason in verdict.reasons}
    assert rules["judged queries"].startswith("ndcg_at_10 is ")
    record = json.loads((tmp_path / "gate/gate.json").read_text())
    assert record["baseline_name"] == f"champion {shop.champion.name}"
    assert record["metrics"]["baseline"] == record["metrics"]["champion"]
    assert set(pd.read_parquet(tmp_path / "gate/per_query.parquet")["system"]) == {
        "candidate",
        "champion",
    }


def test_feed_without_queries_is_judged_by_those_of_the_champion(
    shop: Shop, tmp_path: Path
) -> None:
    feed = Feed(lambda p: p, (NEW,), with_queries=False).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    verdict = shop.check(feed, tmp_path, settings=JUDGED)

    judged = next(reason for reason in verdict.reasons if reason.rule == "judged queries")
    assert verdict.decision == "promote", verdict.refusal
    assert judged.detail.startswith("ndcg_at_10 is ")
    assert (tmp_path / "vectors/queries.npy").is_file()  # recall is measured on real queries


def test_vectors_in_the_wrong_rows_are_found_out(shop: Shop, tmp_path: Path) -> None:
    feed = Feed(lambda p: p, (NEW,)).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    file = tmp_path / "vectors" / "vectors.npy"
    np.save(file, np.roll(np.load(file), 1, axis=0))
    verdict = shop.check(feed, tmp_path)

    assert verdict.decision == "reject"
    assert "unchanged products: scores of" in verdict.refusal


def test_feed_that_lost_its_photographs_is_rejected(shop: Shop, tmp_path: Path) -> None:
    feed = Feed(lambda product: {**product, "image": None}).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    verdict = shop.check(feed, tmp_path)

    assert verdict.decision == "reject"
    assert "products with image: 0.00% of the products have one" in verdict.refusal


def test_rejected_refresh_is_never_registered(shop: Shop, tmp_path: Path) -> None:
    feed = Feed(lambda product: {**product, "image": None}).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    shop.check(feed, tmp_path)

    with pytest.raises(ArtifactError, match="The gate decided 'reject'"):
        _register(shop, feed, tmp_path, InMemoryTracking())


def _register(shop: Shop, feed: Path, out: Path, registry: InMemoryTracking) -> Release:
    record = register_release(
        dataset=feed,
        model=out / "model",
        index=out / "index",
        gate=out / "gate",
        parent=shop.champion,
        releases=out / "releases",
        registry=registry,
    )
    return Release.open(record.path, verify="hashes")


def test_refreshed_release_keeps_the_encoder_and_names_its_origin(
    shop: Shop, tmp_path: Path
) -> None:
    feed = Feed(lambda p: p, (NEW,), with_queries=False).write(shop.dataset, tmp_path / "feed")
    shop.refresh(feed, tmp_path)
    shop.check(feed, tmp_path)
    registry = InMemoryTracking()
    release = _register(shop, feed, tmp_path, registry)
    parent = Release.open(shop.champion)

    assert release.manifest.parent_release == parent.release_id
    assert release.manifest.encoder_fingerprint == parent.manifest.encoder_fingerprint
    assert registry.releases()[0].tags["parent_release"] == parent.release_id
    for name in (
        "query_encoder/encoder.onnx",
        "evidence/queries.parquet",
        "evidence/parity.json",
    ):
        assert (release.path / name).read_bytes() == (parent.path / name).read_bytes()
    index = ProductIndex.open(
        release.index_dir, encoder_fingerprint=release.manifest.encoder_fingerprint
    )
    assert "new-1" in index.product_ids
    fingerprint = release.manifest.encoder_fingerprint
    profiles = [
        QueryProfile.read(path, encoder_fingerprint=fingerprint)
        for path in (release.path, parent.path)
    ]
    assert profiles[0] is not None  # the feed has no queries: what they were like is inherited
    assert profiles[0].model_copy(update={"scores": None}) == profiles[1].model_copy(
        update={"scores": None}
    )
    again = _register(shop, feed, tmp_path, registry)
    assert again.release_id == release.release_id


def test_refreshed_release_keeps_what_was_proven_of_its_encoder_and_its_cards_say_so(
    shop: Shop, tmp_path: Path
) -> None:
    trained = Release.open(shop.champion).manifest
    releases = []
    for number, name in enumerate(("new-1", "new-2")):
        out = tmp_path / name
        out.mkdir()
        champion = releases[-1].path if releases else shop.champion
        now = Shop(shop.dataset, champion, shop.workspace, shop.registry)
        feed = Feed(without("30"), ({**NEW, "product_id": name},)).write(shop.dataset, out / "feed")
        now.refresh(feed, out, settings=ANYTHING)
        now.check(feed, out, settings=ANYTHING if number else JUDGED)
        releases.append(_register(now, feed, out, InMemoryTracking()))

    for release, parent in zip(releases, (shop.champion.name, releases[0].release_id), strict=True):
        evidence = release.path / "evidence"
        origin = TrainingOrigin.read(evidence)
        assert origin is not None
        assert origin.manifest == trained
        assert origin.evidence.means("candidate")["overall"] == {"ndcg_at_10": 0.5}
        for name in ("gate.json", "model_card.md", "data_card.md"):
            kept = (evidence / "training" / name).read_bytes()
            assert kept == (shop.champion / "evidence" / name).read_bytes()
        model, data = ((evidence / f"{name}_card.md").read_text() for name in ("model", "data"))
        for card in (model, data):
            assert "Nothing was trained for this release" in card
            assert f"| catalogue before | release `{parent}` |" in card
            assert f"| encoder trained for | release `{trained.release_id}`, " in card
            assert f"| on the dataset | `{trained.dataset_hash}` |" in card
            assert "| products new | 1 |" in card
        assert f"| content hash | `{release.manifest.dataset_hash}` |" in data
        assert "### Figures of the training\n\n| metric | mean |" in model
        assert f"against champion {parent}." in model
    assert "Nothing was trained" not in (shop.champion / "evidence/model_card.md").read_text()


def test_refresh_of_a_release_that_kept_nothing_says_that_the_training_is_unknown(
    shop: Shop, tmp_path: Path
) -> None:
    parent = _refreshed_before_trainings_were_kept(shop, tmp_path / "old")
    now = Shop(shop.dataset, parent, shop.workspace, shop.registry)
    feed = Feed(added=(NEW,)).write(shop.dataset, tmp_path / "feed")
    now.refresh(feed, tmp_path)
    now.check(feed, tmp_path)
    release = _register(now, feed, tmp_path, InMemoryTracking())

    assert TrainingOrigin.read(release.path / "evidence") is None
    card = (release.path / "evidence/model_card.md").read_text()
    assert "| encoder trained for | unknown |" in card
    assert f"unknown: release {release.manifest.parent_release} kept nothing." in card


def _refreshed_before_trainings_were_kept(shop: Shop, out: Path) -> Path:
    copy = shutil.copytree(shop.champion, out)
    manifest = Release.open(copy).manifest.model_copy(update={"parent_release": "0" * 16})
    (copy / "index" / "products.parquet").chmod(0o644)
    return _resealed(copy, manifest)


def test_settings_of_a_champion_are_compared_with_their_hash_before_they_are_inherited(
    shop: Shop, tmp_path: Path
) -> None:
    copy = shutil.copytree(shop.champion, tmp_path / shop.champion.name)
    (copy / "settings.json").chmod(0o644)
    (copy / "settings.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"settings\.json differs"):
        find_champion(releases=tmp_path, registry=shop.registry, required=True)


def test_parent_of_another_encoder_is_refused(
    shop: Shop, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    (tmp_path / "model").mkdir()
    save_retriever(new_text_retriever(tiny_settings.model).eval(), tmp_path / "model", training={})
    embed_catalogue(
        dataset=shop.dataset,
        model=tmp_path / "model",
        out=tmp_path / "vectors",
        cache=tmp_path / "cache",
    )
    build_index(vectors=tmp_path / "vectors", out=tmp_path / "index", settings=IndexConfig())
    shutil.copytree(shop.champion / "evidence", tmp_path / "gate")

    with pytest.raises(IndexMismatchError, match="A refresh keeps the encoder"):
        _register(shop, shop.dataset, tmp_path, InMemoryTracking())


def test_release_without_a_parent_has_the_id_that_it_had_before_parents_were_recorded() -> None:
    content = {
        "files": {},
        "encoder_fingerprint": "f",
        "dim": 1,
        "dataset_hash": "d",
        "dataset_revision": None,
        "git_revision": None,
        "mlflow_run_id": None,
        "metrics": {},
        "gate_decision": "promote",
    }
    trained = ReleaseManifest.create(created_at="now", **content)
    refreshed = ReleaseManifest.create(created_at="now", parent_release="p", **content)

    assert trained.release_id == "ddf18781ca656b07"
    assert refreshed.release_id != trained.release_id


def test_refresh_inherits_how_the_champion_was_made_and_needs_no_judgements(shop: Shop) -> None:
    champion = find_champion(
        releases=shop.workspace.releases, registry=shop.registry, required=True
    )

    assert champion.release == shop.champion
    settings = json.loads((shop.champion / "settings.json").read_text())
    parameters = champion.as_parameters()
    assert json.loads(parameters.prepare_settings) == settings["prepare"]
    assert json.loads(parameters.release_settings) == settings
    assert champion.validation.severity["train_judged"] == "warning"


def test_without_a_champion_a_refresh_says_what_to_do_and_a_training_goes_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(ArtifactError, match=r"nothing to refresh\. `mmr run` trains"):
        find_champion(releases=tmp_path, registry=InMemoryTracking(), required=True)

    none = find_champion(releases=tmp_path, registry=InMemoryTracking(), required=False)
    assert none.as_parameters().release == ""


def test_champion_whose_directory_is_gone_is_an_error_not_a_start_without_champion(
    tmp_path: Path,
) -> None:
    registry = InMemoryTracking()
    registry.register(release_id="abc", release_dir=tmp_path, run_id=None, tags={})
    registry.promote("abc", expected=None, why="", who="")

    with pytest.raises(ArtifactError, match="names release abc as champion"):
        find_champion(releases=tmp_path, registry=registry, required=False)


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
