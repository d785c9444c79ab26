"""Ladders climbed on a tiny real shop with tiny real models."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmr.ablation import climb as ablation_climb
from mmr.ablation.run import run_ladder
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError
from mmr.evaluation.metrics import METRICS
from mmr.evaluation.systems import score_system
from mmr.models.storage import load_retriever
from mmr.stages.embedding import ProductTower, embed_products, embed_queries
from mmr.stages.features import product_features
from mmr.stages.training_data import product_texts
from mmr.stages.validation_task import validation_task
from mmr.training import loop as training_loop
from tests.ablation.ladder_requests import request_of, stage_of

PAPER = ["text-only", "image", "domain", "alignment", "fusion"]


@pytest.fixture(scope="module")
def climbed(
    prepared: Path, settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The paper ladder, two seeds."""
    workspace = tmp_path_factory.mktemp("paper") / "workspace"
    lines: list[str] = []
    out, record = run_ladder(request_of(prepared, settings, workspace, seeds=2), show=lines.append)
    return {"out": out, "record": record, "lines": lines, "workspace": workspace}


def test_a_ladder_writes_its_results_whole(climbed: dict[str, Any]) -> None:
    out: Path = climbed["out"]

    assert out.parent == climbed["workspace"] / "ablations"
    assert sorted(path.name for path in out.iterdir()) == [
        "per_query.parquet",
        "plot.svg",
        "results.json",
        "table.csv",
        "table.md",
    ]
    assert json.loads((out / "results.json").read_text()) == json.loads(
        json.dumps(climbed["record"])
    )
    assert [rung["name"] for rung in climbed["record"]["rungs"]] == PAPER
    assert climbed["record"]["seeds"] == [7, 8]


def test_metrics_are_those_of_the_models_over_the_whole_catalogue(
    climbed: dict[str, Any], prepared: Path
) -> None:
    data, cache = Dataset(prepared), climbed["workspace"] / "cache"
    task = validation_task(data)
    last = climbed["record"]["rungs"][-1]
    fingerprints = {entry["fingerprint"]: entry["seed"] for entry in last["training"]}
    from mmr.release.fingerprint import encoder_fingerprint

    models = {encoder_fingerprint(m): m for m in (cache / "ablation-models").iterdir()}
    expected = []
    for fingerprint in fingerprints:
        model = models[fingerprint]
        scores = score_system(
            "oracle",
            task,
            query_vectors=embed_queries(model, list(task.queries["query"]), cache=cache),
            product_vectors=embed_products(model, data, cache=cache).vectors,
        )
        expected.append(scores.per_query["ndcg_at_10"].mean())

    assert last["metrics"]["ndcg_at_10"]["mean"] == pytest.approx(np.mean(expected))
    per_query = pd.read_parquet(climbed["out"] / "per_query.parquet")
    assert len(per_query) == len(PAPER) * 2 * len(task.queries)
    of_rung = per_query[per_query["rung"] == "fusion"]
    assert of_rung.groupby("seed")["ndcg_at_10"].mean().tolist() == pytest.approx(expected)


def test_the_table_for_tools_repeats_the_record(climbed: dict[str, Any]) -> None:
    table = pd.read_csv(climbed["out"] / "table.csv")
    pooled = table[(table["seed"] == "pooled") & (table["slice"] == "all")]

    for rung in climbed["record"]["rungs"]:
        rows = pooled[pooled["rung"] == rung["name"]].set_index("metric")
        assert sorted(rows.index) == sorted(METRICS)
        assert rows.loc["mrr_at_10", "value"] == pytest.approx(rung["metrics"]["mrr_at_10"]["mean"])
        if rung["against"]:
            gain = rung["against"]["overall"]["recall_at_10"]["gain"]
            assert rows.loc["recall_at_10", "gain"] == pytest.approx(gain)
            assert rows.loc["recall_at_10", "reference"] == rung["against"]["reference"]


def test_progress_names_rung_seed_stage_and_time_left(climbed: dict[str, Any]) -> None:
    lines = climbed["lines"]

    assert lines[0] == "[1/10] text-only, seed 7: text_only; time left unknown"
    assert any("[9/10] alignment, seed 8: align_queries; about" in line for line in lines)
    assert lines[-1].startswith("[10/10] + fusion network, seed 8: NDCG@10")
    assert lines[-1].endswith("nothing left")


def test_rungs_of_one_seed_start_from_the_same_towers(climbed: dict[str, Any]) -> None:
    """The untuned rung's image network is the domain-tuned one's before its first step."""
    record = climbed["record"]
    steps = {
        rung["name"]: [entry["steps"] for entry in rung["training"][0]["stages"]]
        for rung in record["rungs"]
    }

    assert steps["image"] == [12, 0, 12]
    assert steps["fusion"] == [12, 12, 12, 12]
    assert record["rungs"][1]["training"][0]["stages"][1]["image_samples"] == 0


def test_a_killed_ladder_goes_on_where_it_was(
    climbed: dict[str, Any],
    prepared: Path,
    settings: RunSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = {"taken": 0}
    whole_step, whole_measure = training_loop._step, ablation_climb.measure
    measured: list[str] = []

    def counting(*arguments):  # type: ignore[no-untyped-def]
        steps["taken"] += 1
        return whole_step(*arguments)

    def dying(model: Path, *arguments, **more):  # type: ignore[no-untyped-def]
        measured.append(model.name)
        if len(measured) == 4:
            raise KeyboardInterrupt
        return whole_measure(model, *arguments, **more)

    monkeypatch.setattr(training_loop, "_step", counting)
    monkeypatch.setattr(ablation_climb, "measure", dying)
    request = request_of(prepared, settings, tmp_path / "workspace")
    with pytest.raises(KeyboardInterrupt):
        run_ladder(request, show=lambda line: None)
    assert not (tmp_path / "workspace" / "ablations").exists()
    before = steps["taken"]
    _, record = run_ladder(request, show=lambda line: None)
    first = steps["taken"]
    told: list[str] = []
    _, again = run_ladder(request, show=told.append)

    kept = (tmp_path / "workspace" / "cache" / "models").glob("*/training.json")
    trained = [json.loads(file.read_text()) for file in kept]
    loops = sum(record["steps"] for record in trained)
    alone = settings.fusion.image_only_steps  # of the last rung
    assert first == loops + alone, "trained twice"
    assert before == first - 12 - alone  # the last fusion alone was missing
    assert steps["taken"] == first
    assert again == record
    assert not any("not timed yet" in line for line in told), "what is kept takes no time"
    for resumed, uninterrupted in zip(record["rungs"], climbed["record"]["rungs"], strict=True):
        assert resumed["training"][0]["fingerprint"] == uninterrupted["training"][0]["fingerprint"]


@pytest.mark.parametrize("ladder", ["fusion", "vision-size", "staging", "robustness"])
def test_the_other_ladders_run_end_to_end(
    ladder: str, climbed: dict[str, Any], prepared: Path, settings: RunSettings
) -> None:
    request = request_of(prepared, settings, climbed["workspace"], ladder=ladder)
    out, record = run_ladder(request, show=lambda line: None)

    names = [rung["name"] for rung in record["rungs"]]
    assert out.name == f"{ladder}-{out.name.removeprefix(f'{ladder}-')}"
    for rung in record["rungs"][1:]:
        assert rung["against_text_only"]["reference"] == "text-only"
        if rung["against"] is not None:
            assert rung["against"]["reference"] in names
    (baseline,) = {rung["training"][0]["fingerprint"] for rung in record["rungs"][:1]}
    assert baseline == climbed["record"]["rungs"][0]["training"][0]["fingerprint"]
    if ladder == "staging":
        _check_equal_compute(record)


def _check_equal_compute(record: dict[str, Any]) -> None:
    samples = {
        rung["name"]: [entry["image_samples"] for entry in rung["training"][0]["stages"]]
        for rung in record["rungs"]
    }
    (stage,) = record["rungs"][1]["training"][0]["stages"]
    a_step = samples["end-to-end"][0] / stage["steps"]

    assert abs(samples["end-to-end"][0] - sum(samples["staged"])) <= a_step
    assert samples["staged"][0] == 0
    assert samples["staged"][1] > 0
    assert samples["staged"][2] > 0


def test_techniques_are_measured_alone_without_touching_the_whole_ladders_results(
    climbed: dict[str, Any], prepared: Path, settings: RunSettings
) -> None:
    only = ("hard-negatives.text", "large-batches", "distillation", "matryoshka-half")
    request = request_of(prepared, settings, climbed["workspace"], ladder="techniques", only=only)
    run_ladder(replace(request, only=("preset",)), show=lambda line: None)
    models = climbed["workspace"] / "cache" / "ablation-models"
    before = set(models.iterdir())
    out, record = run_ladder(request, show=lambda line: None)

    assert out.name.endswith("-partial")
    assert record["partial"]
    compared = {
        rung["name"]: rung["against"] and rung["against"]["reference"] for rung in record["rungs"]
    }
    assert compared == {
        "text-only": None,
        "preset": "text-only",
        "hard-negatives.text": "text-only",
        "large-batches": "preset",
        "distillation": "preset",
        "preset-half": "preset",
        "matryoshka-half": "preset-half",
    }
    trained = {rung["name"]: rung["training"][0] for rung in record["rungs"]}
    assert trained["preset-half"]["fingerprint"] == trained["preset"]["fingerprint"]
    stages = Counter(stage_of(model) for model in set(models.iterdir()) - before)
    assert stages == {
        "text_only": 1,  # hard-negatives.text
        "finetune_vision": 1,  # large-batches, which goes on from there
        "align_queries": 1,
        "train_fusion": 3,  # large-batches, distillation, matryoshka-half
    }


def test_without_its_image_a_fused_product_is_its_text(
    climbed: dict[str, Any], prepared: Path, tmp_path: Path
) -> None:
    data = Dataset(prepared)
    chosen = climbed["record"]["rungs"][-1]["training"][0]["fingerprint"]
    from mmr.release.fingerprint import encoder_fingerprint

    models = (climbed["workspace"] / "cache" / "ablation-models").iterdir()
    model = next(model for model in models if encoder_fingerprint(model) == chosen)
    tower = ProductTower.open(model, data, cache=tmp_path)
    hidden = tower.vectors(range(len(tower)), image=False)
    retriever = load_retriever(model)
    with torch.no_grad():
        text = retriever.text_head(product_features(retriever, product_texts(data), cache=tmp_path))

    rows = tower.products.has_text.numpy()
    assert rows.sum() > 50
    np.testing.assert_allclose(hidden[rows], retriever.served(text).numpy()[rows], atol=1e-5)


def test_two_runs_do_not_share_a_workspace(
    prepared: Path, settings: RunSettings, climbed: dict[str, Any]
) -> None:
    from filelock import FileLock

    request = request_of(prepared, settings, climbed["workspace"])
    with (
        FileLock(climbed["workspace"] / "run.lock"),
        pytest.raises(ArtifactError, match="Another"),
    ):
        run_ladder(request, show=lambda line: None)
