"""A refresh of a real, tiny shop is judged against its champion and released with its origin."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmr.config.index import IndexConfig
from mmr.config.run import RunSettings
from mmr.errors import ArtifactError, CorruptArtifactError, IndexMismatchError
from mmr.indexing import ProductIndex
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
from mmr.release.bundle import Release
from mmr.release.manifest import ReleaseManifest
from mmr.release.origin import TrainingOrigin
from mmr.release.query_profile import QueryProfile
from mmr.stages.build_index import build_index
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.find_champion import find_champion
from mmr.stages.register_release import register_release
from mmr.tracking import InMemoryTracking
from tests.stages.refreshed_shop import ANYTHING, JUDGED, NEW, Feed, Shop, resealed, without

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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
    return resealed(copy, manifest)


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
