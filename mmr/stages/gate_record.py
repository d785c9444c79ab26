"""What the stage `evaluate_gate` records: for files, for the tracker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.config.flat import flat_settings
from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.errors import CorruptArtifactError
from mmr.evaluation.evaluate import Evaluation
from mmr.evaluation.examples import Example
from mmr.evaluation.measured import DataAge
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.evaluation.systems import SystemScores
from mmr.release.bundle import EVIDENCE, Release
from mmr.release.evidence import GateEvidence
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.stage_report import Adoption

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Contender:
    """A model that takes part.

    Attributes:
        key: `candidate`, `champion` or `text_only`: its name in files.
        name: Its name for people.
        model: Its model directory.
        fingerprint: Of its encoder.
    """

    key: str
    name: str
    model: Path
    fingerprint: str

    @classmethod
    def of(cls, key: str, name: str, model: Path) -> Contender:
        """Reads the fingerprint."""
        return cls(key, name, model, encoder_fingerprint(model))


def gate_record(
    evaluation: Evaluation,
    contenders: Sequence[Contender],
    data: Dataset,
    lineage: Mapping[str, str | None],
    worst: Sequence[Example],
) -> dict[str, Any]:
    """`gate.json`, still without a run id; `lineage` names the revisions it comes from."""
    metrics, comparisons = _figures(evaluation, contenders)
    return {
        "format_version": FORMAT_VERSION,
        "decision": evaluation.verdict.decision,
        "reasons": [asdict(reason) for reason in evaluation.verdict.reasons],
        "baseline_name": contenders[1].name,
        "primary_metric": evaluation.config.primary_metric,
        "metrics": metrics,
        "comparisons": comparisons,
        "slices": {part.name: part.meaning for part in evaluation.slices},
        "worst_queries": [_worst(example) for example in worst],
        "stages_left_out": stages_left_out(contenders[0].model),
        "serving": asdict(evaluation.measured.serving),
        "data_age": _data_age(evaluation.measured.data_age),
        "policy": evaluation.config.model_dump(mode="json"),
        "lineage": {
            "decision": evaluation.verdict.decision,
            "baseline": contenders[1].name,
            "dataset": data.manifest.name,
            "dataset_hash": data.manifest.content_hash,
            **lineage,
            **{f"{side.key}_fingerprint": side.fingerprint for side in contenders},
        },
        "versions": {
            "metrics": METRIC_VERSION,
            "dataset_schema": data.manifest.schema_version,
            **{name: version(name) for name in ("mmr", "ir-measures", "scipy", "numpy")},
        },
        "mlflow_run_id": None,
    }


def _figures(
    evaluation: Evaluation, contenders: Sequence[Contender]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of every side, and comparisons of the candidate; what decides also as `baseline`."""
    metrics = {
        side.key: {"overall": system.overall(), "slices": system.by_slice(evaluation.slices)}
        for side, system in _systems(evaluation, contenders)
    }
    comparisons = {
        contender.key: comparison.as_json()
        for contender, comparison in zip(contenders[1:], evaluation.comparisons, strict=True)
    }
    deciding = contenders[1].key
    return (
        {**metrics, "baseline": metrics[deciding]},
        {**comparisons, "baseline": comparisons[deciding]},
    )


def _data_age(age: DataAge) -> dict[str, Any]:
    newest = None if age.newest is None else age.newest.isoformat()
    return {"newest": newest, "of": age.of, "days": age.days}


def _systems(
    evaluation: Evaluation, contenders: Sequence[Contender]
) -> Iterator[tuple[Contender, SystemScores]]:
    return zip(contenders, (evaluation.candidate, *evaluation.references), strict=True)


def _worst(example: Example) -> dict[str, Any]:
    """A query that lost, with both results."""
    products = {
        side: [
            {"product_id": product.product_id, "title": product.title, "grade": product.grade}
            for product in shown
        ]
        for side, shown in (("reference", example.reference), ("candidate", example.candidate))
    }
    gain = example.gain
    return {
        **{"query_id": gain.query_id, "query": gain.query, "kind": gain.kind},
        **{"reference": gain.reference, "candidate": gain.candidate, "gain": gain.gain},
        "products": products,
    }


def rescored(champion: Path | None, data: Dataset) -> str | None:
    """Says on what the champion was released and on what it is scored now; None without one."""
    if champion is None:
        return None
    release = Release.open(champion)
    recorded = "unknown metrics"
    if (champion / EVIDENCE / "gate.json").is_file():
        versions = GateEvidence.of(release).record.get("versions", {})
        recorded = f"metrics {versions.get('metrics', 'unknown')}"
    return (
        f"on dataset {data.manifest.content_hash[:12]} with metrics {METRIC_VERSION}; released on "
        f"dataset {release.manifest.dataset_hash[:12]} with {recorded}"
    )


def per_query_table(evaluation: Evaluation, contenders: Sequence[Contender]) -> pd.DataFrame:
    """Columns `query_id`, `query` (its text), `system` and one per metric."""
    texts = evaluation.task.queries.set_index("query_id")["query"]
    frames = [
        system.per_query.reset_index().assign(
            system=side.key, query=lambda rows: rows["query_id"].map(texts)
        )
        for side, system in _systems(evaluation, contenders)
    ]
    return pd.concat(frames, ignore_index=True)[["query_id", "query", "system", *METRICS]]


def flat_metrics(evaluation: Evaluation, contenders: Sequence[Contender]) -> dict[str, float]:
    """Means as `side/metric`; the gain that decided and what else was measured as `gate/...`."""
    flat = {
        f"{side.key}/{name}": value
        for side, system in _systems(evaluation, contenders)
        for name, value in system.overall().items()
        if name in METRICS
    }
    gain = evaluation.comparisons[0].overall[evaluation.config.primary_metric]
    age = evaluation.measured.data_age.days
    return {
        **flat,
        "gate/queries": float(gain.queries),
        "gate/gain": gain.gain,
        "gate/gain_ci_low": gain.ci_low,
        "gate/gain_ci_high": gain.ci_high,
        "gate/p_value": gain.p_value,
        **{
            f"gate/{name}": float(value)
            for name, value in asdict(evaluation.measured.serving).items()
        },
        **({} if age is None else {"gate/data_age_days": age}),
    }


def training_record(model: Path) -> dict[str, Any]:
    """What the training recorded beside the model; nothing where there is no record."""
    file = model / "training.json"
    if not file.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptArtifactError(f"{file} is damaged ({error}). Train again.") from error
    return record


def fusion_kept_start(model: Path) -> bool:
    """Whether no step of stage C answered better than its start, text and image in equal shares."""
    record = training_record(model)
    return record.get("stage") == "train_fusion" and record.get("best_step") == 0


def stages_left_out(model: Path) -> list[str]:
    """Training stages that had to prove that they help and did not, with what was found."""
    found = {
        stage: Adoption.of(figures)
        for stage, figures in training_record(model).get("adoptions", {}).items()
    }
    return [
        f"{stage} (without it {proof.before}; with it {proof.after})"
        for stage, proof in found.items()
        if not proof.adopted
    ]


def run_parameters(settings: GateConfig, model: Path) -> dict[str, str | int | float | bool]:
    """Settings of the gate and of the training, as flat names."""
    settings_by_part = {
        "gate": settings.model_dump(mode="json"),
        "training": training_record(model).get("settings") or {},
    }
    return {
        name: value if isinstance(value, str | int | float | bool) else json.dumps(value)
        for name, value in flat_settings(settings_by_part).items()
    }
