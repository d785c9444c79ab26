"""What a trial has shown so far, from the logs of the live model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmr.workspace import Workspace
from serving.live.jsonl_log import read_log
from serving.live.places import LivePlaces
from serving.live.settings import Trial

_WORST = 5


@dataclass(frozen=True)
class CanaryFigures:
    """What the candidate did with the queries that it was to answer.

    Attributes:
        answers: Requests sent to it.
        failed: Of these, answered by the live release because the candidate failed.
        p50_ms: Median milliseconds, failures included; None without answers.
        p95_ms: 95th percentile.
        last_error: The newest failure.
    """

    answers: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    last_error: str | None


@dataclass(frozen=True)
class ShadowFigures:
    """How the candidate's answers differ from the live ones.

    Attributes:
        compared: Queries that both answered.
        failed: Queries that the candidate did not answer.
        mean_overlap: Share of the live products that the candidate found too, mean over queries.
        p10_overlap: A tenth of the queries lies below.
        same_first: Share of queries whose first product is the same.
        mean_score_shift: Candidate's best cosine minus the live one, mean over queries.
        live_p50_ms: Median milliseconds in the live model.
        candidate_p50_ms: Median milliseconds of the candidate, its queue included.
        most_different: Queries with the least overlap.
    """

    compared: int
    failed: int
    mean_overlap: float | None
    p10_overlap: float | None
    same_first: float | None
    mean_score_shift: float | None
    live_p50_ms: float | None
    candidate_p50_ms: float | None
    most_different: tuple[str, ...]


@dataclass(frozen=True)
class TrialReport:
    """A trial, what became of it, and its figures.

    Attributes:
        trial: Its settings.
        rolled_back: Why it was rolled back; None while it runs.
        canary: Figures of the canary.
        shadow: Figures of the shadow.
    """

    trial: Trial
    rolled_back: str | None
    canary: CanaryFigures
    shadow: ShadowFigures

    def as_json(self) -> dict[str, Any]:
        """Everything, for other programs."""
        return {
            "trial": self.trial.model_dump(mode="json"),
            "rolled_back": self.rolled_back,
            "canary": asdict(self.canary),
            "shadow": asdict(self.shadow),
        }


def report_trial(workspace: Workspace) -> TrialReport | None:
    """The trial under way with its figures; None if there is none."""
    places = LivePlaces(workspace.serving)
    trial = places.read_trial()
    if trial is None:
        return None
    trip = places.read_trip(trial)
    return TrialReport(
        trial,
        trip.reason if trip else None,
        canary_figures(_of(trial, places.canary_log)),
        shadow_figures(_of(trial, places.shadow_log)),
    )


def canary_figures(records: Iterable[dict[str, Any]]) -> CanaryFigures:
    """Sums up records of the canary log."""
    answers = list(records)
    errors = [record["error"] for record in answers if record["error"] is not None]
    milliseconds = [record["latency_ms"] for record in answers]
    return CanaryFigures(
        answers=len(answers),
        failed=len(errors),
        p50_ms=_quantile(milliseconds, 0.5),
        p95_ms=_quantile(milliseconds, 0.95),
        last_error=errors[-1] if errors else None,
    )


def shadow_figures(records: Iterable[dict[str, Any]]) -> ShadowFigures:
    """Sums up records of the shadow log."""
    seen = list(records)
    compared = [record for record in seen if record["error"] is None]
    shifts = [r["score_shift"] for r in compared if r["score_shift"] is not None]
    overlaps = [record["overlap"] for record in compared]
    worst = sorted(compared, key=lambda record: record["overlap"])
    names = dict.fromkeys(str(r.get("query", r.get("query_hash"))) for r in worst)
    return ShadowFigures(
        compared=len(compared),
        failed=len(seen) - len(compared),
        mean_overlap=_mean(overlaps),
        p10_overlap=_quantile(overlaps, 0.1),
        same_first=_mean([float(record["same_first"]) for record in compared]),
        mean_score_shift=_mean(shifts),
        live_p50_ms=_quantile([record["live_ms"] for record in compared], 0.5),
        candidate_p50_ms=_quantile([record["candidate_ms"] for record in compared], 0.5),
        most_different=tuple(names)[:_WORST],
    )


def _of(trial: Trial, log: Path) -> Iterable[dict[str, Any]]:
    return (record for record in read_log(log) if record.get("trial_id") == trial.trial_id)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
