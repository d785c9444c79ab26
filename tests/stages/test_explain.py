"""`explain` on a tiny real shop: its figures are those that the towers themselves give."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmr import stages
from mmr.atomic import write_json
from mmr.cli import build_app
from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.data.locate import find_dataset
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, CorruptArtifactError, DataContractError, MmrError
from mmr.release.bundle import copy_into_release
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import ProductTower, embed_products, embed_queries
from mmr.stages.vectors_directory import product_rows
from mmr.workspace import Workspace
from tests.sealing import seal_release

Untrained = Callable[[FusionKind], Path]
QUERY = "red sofa"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def experts(untrained_model: Untrained) -> Path:
    return untrained_model(FusionKind.BILINEAR_EXPERTS)


def product(dataset: Path, *, image: bool) -> str:
    table = Dataset(dataset).product_table(["product_id", "title", "image"])
    return next(
        row["product_id"]
        for row in table.to_pylist()
        if (row["image"] is not None) is image and row["title"]
    )


def test_fused_score_and_rank_are_those_of_the_whole_catalogue(
    experts: Path, tiny_dataset: Path, cache: Path
) -> None:
    wanted = product(tiny_dataset, image=True)

    found = stages.explain(
        product_id=wanted, model=experts, dataset=tiny_dataset, cache=cache, query=QUERY
    )

    embedded = embed_products(experts, Dataset(tiny_dataset), cache=cache)
    scores = embedded.vectors @ embed_queries(experts, [QUERY], cache=cache)[0]
    row = embedded.product_ids.index(wanted)
    order = sorted(range(len(scores)), key=lambda other: (-scores[other], other))
    fused = found.scores[-1]
    assert (fused.reads, fused.products) == ("text and image", len(scores))
    assert fused.score == pytest.approx(scores[row], abs=1e-5)
    assert fused.rank == order.index(row) + 1


def test_a_modality_alone_is_scored_as_if_the_product_had_nothing_else(
    experts: Path, tiny_dataset: Path, cache: Path
) -> None:
    wanted = product(tiny_dataset, image=True)

    found = stages.explain(
        product_id=wanted, model=experts, dataset=tiny_dataset, cache=cache, query=QUERY
    )

    tower = ProductTower.open(experts, Dataset(tiny_dataset), cache=cache)
    row = Dataset(tiny_dataset).product_ids().index(wanted)
    text, image = tower.retriever.modality_embeddings(
        tower.products.texts[row : row + 1],
        tower.products.images[row : row + 1],
        has_text=tower.products.has_text[row : row + 1],
    )
    query = embed_queries(experts, [QUERY], cache=cache)[0]
    alone = {score.reads: score.score for score in found.scores}
    assert alone["text alone"] == pytest.approx(float(text.detach().numpy()[0] @ query), abs=1e-5)
    assert alone["image alone"] == pytest.approx(float(image.detach().numpy()[0] @ query), abs=1e-5)
    vector = tower.vectors([row])[0]
    assert found.without_image == pytest.approx(float(text.detach().numpy()[0] @ vector), abs=1e-5)
    assert found.weights is not None
    assert found.weights.text + found.weights.image + found.weights.joint == pytest.approx(1)
    assert found.weights.joint > 0


def test_ranks_by_image_alone_are_among_the_products_with_an_image(
    experts: Path, tiny_dataset: Path, cache: Path
) -> None:
    found = stages.explain(
        product_id=product(tiny_dataset, image=True),
        model=experts,
        dataset=tiny_dataset,
        cache=cache,
        query=QUERY,
    )

    manifest = Dataset(tiny_dataset).manifest
    assert manifest.products_without_image > 0
    assert found.scores[1].products == manifest.products - manifest.products_without_image


def test_a_product_without_an_image_is_all_text_and_has_no_image_score(
    experts: Path, tiny_dataset: Path, cache: Path
) -> None:
    found = stages.explain(
        product_id=product(tiny_dataset, image=False),
        model=experts,
        dataset=tiny_dataset,
        cache=cache,
        query=QUERY,
    )

    text, image, fused = found.scores
    assert not found.has_image
    assert found.weights is not None
    assert (found.weights.text, found.weights.image) == (1.0, 0.0)
    assert (image.score, image.rank) == (None, None)
    assert fused.score == pytest.approx(text.score)
    assert found.without_image is None


def test_concat_states_what_is_left_without_each_modality_instead_of_weights(
    untrained_model: Untrained, tiny_dataset: Path, cache: Path
) -> None:
    wanted = product(tiny_dataset, image=True)
    model = untrained_model(FusionKind.CONCAT)

    found = stages.explain(product_id=wanted, model=model, dataset=tiny_dataset, cache=cache)

    assert found.weights is None
    assert found.scores == ()
    tower = ProductTower.open(model, Dataset(tiny_dataset), cache=cache)
    row = [Dataset(tiny_dataset).product_ids().index(wanted)]
    expected = tower.vectors(row) @ tower.vectors(row, image=False).T
    assert found.without_image == pytest.approx(expected.item(), abs=1e-5)
    assert found.without_image < 0.999


def test_an_unknown_product_is_refused_with_the_closest_ids(
    experts: Path, tiny_dataset: Path, cache: Path
) -> None:
    known = product(tiny_dataset, image=True)
    with pytest.raises(DataContractError, match=f"closest are .*{known}"):
        stages.explain(product_id=known + "x", model=experts, dataset=tiny_dataset, cache=cache)


def test_a_text_only_model_has_nothing_to_explain(
    untrained_model: Untrained, tiny_dataset: Path, cache: Path
) -> None:
    with pytest.raises(ArtifactError, match="reads text only"):
        stages.explain(
            product_id=product(tiny_dataset, image=True),
            model=untrained_model(FusionKind.TEXT_ONLY),
            dataset=tiny_dataset,
            cache=cache,
        )


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), ["explain", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_finds_the_dataset_of_a_run_and_prints_tables_or_json(
    experts: Path, tiny_dataset: Path, tmp_path: Path, cache: Path
) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    workspace.cache.symlink_to(cache)
    write_json(workspace.runs / "20260101T000000Z" / "summary.json", {"of": "another version"})
    write_json(
        workspace.runs / "20260102T000000Z" / "summary.json", {"dataset_path": str(tiny_dataset)}
    )
    model = tmp_path / "model"
    model.mkdir()
    (model / "encoder").symlink_to(experts / "encoder")
    write_json(model / "training.json", {"dataset": Dataset(tiny_dataset).manifest.content_hash})
    wanted = product(tiny_dataset, image=True)
    common = (wanted, "--model", str(model), "--workspace", str(workspace.path), "--query", QUERY)

    table = run(*common)
    record = json.loads(run(*common, "--json"))

    found = stages.explain(
        product_id=wanted, model=model, dataset=tiny_dataset, cache=cache, query=QUERY
    )
    assert record == json.loads(json.dumps(found.as_json()))
    assert f"{found.weights.text:.1%}" in table
    assert "image alone" in table
    assert wanted in table


@pytest.mark.parametrize(("best_step", "said"), [(0, True), (20, False)])
def test_a_fusion_that_kept_its_start_says_so(
    experts: Path, tiny_dataset: Path, tmp_path: Path, best_step: int, said: bool
) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    model = tmp_path / "model"
    model.mkdir()
    (model / "encoder").symlink_to(experts / "encoder")
    write_json(model / "training.json", {"stage": "train_fusion", "best_step": best_step})
    wanted = product(tiny_dataset, image=True)
    where = ("--workspace", str(workspace.path), "--dataset", str(tiny_dataset))

    table = run(wanted, "--model", str(model), *where)
    record = json.loads(run(wanted, "--model", str(model), *where, "--json"))

    assert record["kept_start"] is said
    assert ("better than its start, equal shares" in " ".join(table.split())) is said


def test_the_command_explains_a_release_with_its_own_dataset(
    experts: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    steps = workspace.pipeline_runs / "artifacts" / "retrain-1" / "import-data"
    steps.mkdir(parents=True)
    (steps / "dataset").symlink_to(tiny_dataset)
    release = workspace.releases / "draft"
    copy_into_release(experts, release / "product_encoder")
    wanted = product(tiny_dataset, image=True)
    (release / "index").mkdir()
    embedded = embed_products(experts, Dataset(tiny_dataset), cache=tmp_path)
    told = replace(embedded, words={wanted: ("teal", "corduroy")})
    pq.write_table(
        product_rows(Dataset(tiny_dataset), told), release / "index" / "products.parquet"
    )
    manifest = seal_release(
        release,
        fingerprint=encoder_fingerprint(experts),
        dim=32,
        dataset_hash=Dataset(tiny_dataset).manifest.content_hash,
    )
    release.rename(workspace.releases / manifest.release_id)

    named = (wanted, "--release", manifest.release_id[:8])
    output = run(*named, "--workspace", str(workspace.path), "--json")

    assert json.loads(output)["fusion"] == "bilinear_experts"
    assert json.loads(output)["expansion"] == ["teal", "corduroy"]  # as the release was built

    released = workspace.releases / manifest.release_id / "product_encoder" / "training.json"
    released.chmod(0o644)
    released.write_text("{")
    with pytest.raises(CorruptArtifactError, match=r"product_encoder/training\.json differs"):
        run(*named, "--workspace", str(workspace.path), "--json")


def test_the_command_says_when_no_run_prepared_the_dataset(experts: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)

    with pytest.raises(MmrError, match="--dataset DIR"):
        run("p1", "--model", str(experts), "--workspace", str(workspace.path))


def test_a_dataset_is_found_by_content_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    steps = workspace.pipeline_runs / "artifacts" / "retrain-1" / "import-data"
    with new_dataset(steps / "dataset", attributes={}) as writer:
        writer.add_products(
            [{"product_id": "p1", "title": "lamp", "description": None, "image": None}]
        )
        manifest = writer.finish(name="one", prepared=None)
    (steps / "torn").mkdir()
    (steps / "torn" / "dataset.json").write_text("{")

    found = find_dataset(workspace, manifest.content_hash)

    assert found is not None
    assert found.path == steps / "dataset"
    assert find_dataset(workspace, "0" * 64) is None
