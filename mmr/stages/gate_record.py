"""What the stage `evaluate_gate` records: for files, for the tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.evaluation.systems import SystemScores
from mmr.release.fingerprint import encoder_fingerprint

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
    scores: Mapping[str, SystemScores],
    contenders: Sequence[Contender],
    data: Dataset,
    lineage: Mapping[str, str | None],
) -> dict[str, Any]:
    """`gate.json`, still without a run id; `lineage` names the revisions it comes from."""
    metrics = {
        key: {"overall": system.overall(), "slices": system.by_slice(evaluation.slices)}
        for key, system in scores.items()
    }
    comparisons = {
        contender.key: comparison.as_json()
        for contender, comparison in zip(contenders[1:], evaluation.comparisons, strict=True)
    }
    deciding = contenders[1].key
    return {
        "format_version": FORMAT_VERSION,
        "decision": evaluation.verdict.decision,
        "reasons": [asdict(reason) for reason in evaluation.verdict.reasons],
        "baseline_name": contenders[1].name,
        "primary_metric": evaluation.config.primary_metric,
        "metrics": {**metrics, "baseline": metrics[deciding]},
        "comparisons": {**comparisons, "baseline": comparisons[deciding]},
        "slices": {part.name: part.meaning for part in evaluation.slices},
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
            **{name: version(name) for name in ("mmr", "ir-measures", "scipy", "numpy")},
        },
        "mlflow_run_id": None,
    }


def per_query_table(scores: Mapping[str, SystemScores], queries: pd.DataFrame) -> pd.DataFrame:
    """Columns `query_id`, `query` (its text), `system` and one per metric."""
    texts = queries.set_index("query_id")["query"]
    frames = [
        system.per_query.reset_index().assign(
            system=key, query=lambda rows: rows["query_id"].map(texts)
        )
        for key, system in scores.items()
    ]
    return pd.concat(frames, ignore_index=True)[["query_id", "query", "system", *METRICS]]


def flat_metrics(evaluation: Evaluation, scores: Mapping[str, SystemScores]) -> dict[str, float]:
    """Means as `side/metric`, and the gain that decided as `gate/...`."""
    flat = {
        f"{key}/{name}": value
        for key, system in scores.items()
        for name, value in system.overall().items()
        if name in METRICS
    }
    gain = evaluation.comparisons[0].overall[evaluation.config.primary_metric]
    return {
        **flat,
        "gate/queries": float(gain.queries),
        "gate/gain": gain.gain,
        "gate/gain_ci_low": gain.ci_low,
        "gate/gain_ci_high": gain.ci_high,
        "gate/p_value": gain.p_value,
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
