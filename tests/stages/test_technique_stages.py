"""Stages with every technique switched on: they train, resume, repeat, and read their teachers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.config.techniques import TechniqueSettings, TextAnswerSettings
from mmr.config.training import StageSettings
from mmr.data.dataset import Dataset
from mmr.errors import ConfigError, DataContractError
from mmr.release.fingerprint import encoder_fingerprint
from mmr.training import loop as training_loop

EVERYTHING = {
    "masking": {"same_text": True, "same_query": True, "guide_margin": 0.1},
    "keyword_enhancement": {"sibling_products": "positives", "enrichment": 0.5},
    "hard_negatives": {"count": 2, "depth": 6, "every": 10, "pool": 60, "ceiling": 1.0},
    "query_text": {"wordings": 2},
}
ASKED = {"weight": 0.5, "titles": 30, "depth": 6, "drawn": 2, "batch": 8}


@pytest.fixture(scope="module")
def scores(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's Parquet file: judged products high, a few others low."""
    dataset = Dataset(tiny_dataset)
    judged = dataset.judgements("train")
    rows = [
        {"query_id": query, "product_id": product, "score": 0.5 + 0.1 * grade}
        for query, product, grade in judged[["query_id", "product_id", "grade"]].itertuples(
            index=False
        )
    ]
    known = {(row["query_id"], row["product_id"]) for row in rows}
    for query in judged["query_id"].unique():
        for product in dataset.product_ids()[:5]:
            if (query, product) not in known:
                rows.append({"query_id": query, "product_id": product, "score": -0.2})
    rows.append({"query_id": "unknown", "product_id": "unknown", "score": 1.0})
    out = tmp_path_factory.mktemp("teacher") / "scores.parquet"
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out


@pytest.fixture(scope="module")
def all_on(tiny_settings: RunSettings, scores: Path) -> RunSettings:
    """Every technique at once, in every stage."""
    techniques = TechniqueSettings.model_validate(
        {**EVERYTHING, "distillation": {"teacher": str(scores), "products": 3}}
    )
    loop = tiny_settings.fusion.loop.model_copy(
        update={"ema_decay": 0.5, "unfreeze_after": 0.4, "backbone_learning_rate": 1e-3}
    )
    batch = tiny_settings.fusion.batch.model_copy(update={"category_queries": 4, "categories": 3})
    changes: dict[str, Any] = {"loop": loop, "batch": batch, "techniques": techniques}
    return tiny_settings.model_copy(
        update={
            "loss": tiny_settings.loss.model_copy(update={"matryoshka_dims": (16, 8)}),
            "text_only": tiny_settings.text_only.model_copy(update=changes),
            "vision": tiny_settings.vision.model_copy(update={"loop": loop, "images_at_once": 10}),
            "align": tiny_settings.align.model_copy(update={**changes, "images_at_once": 10}),
            "fusion": tiny_settings.fusion.model_copy(
                update={**changes, "text_answers": TextAnswerSettings.model_validate(ASKED)}
            ),
        }
    )


Train = Callable[..., Path]


@pytest.fixture
def trainers(
    tiny_dataset: Path, all_on: RunSettings, untrained_model: Callable[[FusionKind], Path]
) -> dict[str, Callable[[Path], Path]]:
    """Each stage with every technique, as a function of the directory to work in."""
    starts = {
        "text_only": {},
        "align": {"vision": untrained_model(FusionKind.MEAN)},
        "fusion": {"aligned": untrained_model(FusionKind.MEAN)},
        "end_to_end": {},
    }
    functions = {
        "text_only": stages.train_text_only,
        "align": stages.align_queries,
        "fusion": stages.train_fusion,
        "end_to_end": stages.train_end_to_end,
    }

    def trainer(name: str) -> Callable[[Path], Path]:
        settings: StageSettings = getattr(all_on, f"{name}_stage")

        def train(root: Path) -> Path:
            functions[name](
                dataset=tiny_dataset,
                out=root / "model",
                settings=settings,
                cache=root / "cache",
                **starts[name],
            )
            return root / "model"

        return train

    return {name: trainer(name) for name in starts}


@pytest.mark.parametrize("name", ["text_only", "align", "fusion", "end_to_end"])
def test_with_every_technique_a_killed_stage_resumes_to_the_same_model(
    trainers: dict[str, Callable[[Path], Path]],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbroken = trainers[name](tmp_path / "unbroken")
    steps: list[int] = []
    whole_step = training_loop._Run.step

    def dying(run: Any, feed: Any) -> None:
        steps.append(run.state.step)
        if run.state.step == 11 and steps.count(11) == 1:  # after the second mining, at step 10
            raise KeyboardInterrupt
        whole_step(run, feed)

    monkeypatch.setattr(training_loop._Run, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        trainers[name](tmp_path / "killed")
    resumed = trainers[name](tmp_path / "killed")

    image_only = range(12) if name == "fusion" else ()  # learns once the fusion has
    assert steps == [*range(12), *range(8, 12), *image_only]
    assert encoder_fingerprint(resumed) == encoder_fingerprint(unbroken)
    histories = [
        [(entry["step"], entry["ndcg_at_10"]) for entry in json.loads(text)["history"]]
        for text in ((model / "training.json").read_text() for model in (unbroken, resumed))
    ]
    assert histories[0] == histories[1]


def test_the_vision_stage_takes_photographs_in_parts_and_late_backbones(
    tiny_dataset: Path,
    all_on: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
) -> None:
    report = stages.finetune_vision(
        dataset=tiny_dataset,
        text_only=untrained_model(FusionKind.TEXT_ONLY),
        out=tmp_path / "model",
        settings=all_on.vision_stage,
        cache=tmp_path / "cache",
    )

    assert report.steps == all_on.vision.loop.steps


def test_a_model_can_teach(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
) -> None:
    def train(teacher: Path | None) -> str:
        techniques = TechniqueSettings.model_validate(
            {"distillation": {"teacher": str(teacher) if teacher else None, "weight": 5.0}}
        )
        stage = tiny_settings.text_only.model_copy(update={"techniques": techniques})
        out = tmp_path / f"taught-by-{teacher.name if teacher else 'nobody'}"
        stages.train_text_only(
            dataset=tiny_dataset,
            out=out,
            settings=tiny_settings.model_copy(update={"text_only": stage}).text_only_stage,
            cache=tmp_path / "cache",
        )
        return json.dumps(json.loads((out / "training.json").read_text())["history"])

    assert train(untrained_model(FusionKind.CONCAT)) != train(None)


def test_another_teacher_of_the_same_name_is_another_run(
    tiny_dataset: Path, tiny_settings: RunSettings, scores: Path, tmp_path: Path
) -> None:
    table = pq.read_table(scores)
    teacher = tmp_path / "scores.parquet"
    techniques = TechniqueSettings.model_validate({"distillation": {"teacher": str(teacher)}})
    stage = tiny_settings.text_only.model_copy(update={"techniques": techniques})
    settings = tiny_settings.model_copy(update={"text_only": stage}).text_only_stage

    def reused() -> bool:
        return stages.train_text_only(
            dataset=tiny_dataset,
            out=tmp_path / "model",
            settings=settings,
            cache=tmp_path / "cache",
        ).reused

    pq.write_table(table, teacher)
    assert not reused()
    assert reused()
    pq.write_table(table.slice(3), teacher)
    assert not reused()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query_id": ["x"], "product_id": ["y"], "score": [1.0]}, "None of the 1 scores"),
        ({"query_id": ["x"], "product_id": ["y"]}, "score"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused_with_the_cure(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
    columns: dict[str, list[Any]],
    message: str,
) -> None:
    teacher = tmp_path / "scores.parquet"
    pq.write_table(pa.table(columns), teacher)
    techniques = TechniqueSettings.model_validate({"distillation": {"teacher": str(teacher)}})
    stage = tiny_settings.text_only.model_copy(update={"techniques": techniques})
    settings = tiny_settings.model_copy(update={"text_only": stage}).text_only_stage

    with pytest.raises(DataContractError, match=message):
        stages.train_text_only(
            dataset=tiny_dataset,
            out=tmp_path / "model",
            settings=settings,
            cache=tmp_path / "cache",
        )


def test_a_teacher_that_is_not_there_is_refused_before_any_work(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    techniques = TechniqueSettings.model_validate({"distillation": {"teacher": "nowhere"}})
    stage = tiny_settings.text_only.model_copy(update={"techniques": techniques})
    settings = tiny_settings.model_copy(update={"text_only": stage}).text_only_stage

    with pytest.raises(ConfigError, match="nowhere"):
        stages.train_text_only(
            dataset=tiny_dataset,
            out=tmp_path / "model",
            settings=settings,
            cache=tmp_path / "cache",
        )

    assert not (tmp_path / "cache").exists()
