"""What one look at the query log found, as data: the basis of every page and metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmr.config.monitor import MonitorConfig, Watched
from mmr.monitoring.measure import Measure, Status
from mmr.monitoring.measures import AxisDrift, axis_drifts, judge
from mmr.monitoring.tally import Slot, Tally

FORMAT_VERSION = 1
_LISTED = 15
_ORDER = (Status.BREACH, Status.WARN, Status.OK, Status.NOT_ENOUGH, Status.NOT_RECORDED)


@dataclass(frozen=True)
class Hour:
    """One hour with queries.

    Attributes:
        start: UTC, ISO 8601.
        queries: That were asked, unlogged ones by the share that was drawn.
        errors: Records without an answer.
        low_scores: Answers with a low score.
        p50_ms, p95_ms: Of the answers; None without any.
    """

    start: str
    queries: float
    errors: int
    low_scores: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class MonitorReport:
    """Everything that was found.

    Attributes:
        made_at, since, until: UTC, ISO 8601.
        release_id: Whose queries were looked at.
        records: Lines of the log that count.
        queries: That were asked, unlogged ones by the share that was drawn.
        distinct: Different queries among the records.
        routes: Records by who answered.
        other_releases: Records of the window that other releases answered.
        outside: Records before or after the window.
        damaged, damages: Lines that are no record: how many, and the first of them.
        coverage: Share of the catalogue that was on a first page; None where that is not known.
        expected_new_words: Share of words that is new in further queries of the training's kind.
        measures: Judged.
        axes: Every axis of the embedding drift.
        lengths, expected_lengths: Distinct queries, and training queries, by number of words.
        new_words: The most frequent of them, by distinct queries; empty where queries are hashed.
        low_queries: The most frequent queries with a low score, likewise.
        hours: With at least one query, in order.
    """

    made_at: str
    since: str
    until: str
    release_id: str
    records: int
    queries: float
    distinct: int
    routes: Mapping[str, int]
    other_releases: Mapping[str, int]
    outside: int
    damaged: int
    damages: list[str]
    coverage: float | None
    expected_new_words: float | None
    measures: list[Measure]
    axes: list[AxisDrift]
    lengths: list[int]
    expected_lengths: list[int] | None
    new_words: list[tuple[str, int]]
    low_queries: list[tuple[str, int]]
    hours: list[Hour]

    @property
    def status(self) -> Status:
        """The worst of what is known; `not enough` where nothing is."""
        found = {measure.status for measure in self.measures}
        return next((status for status in _ORDER if status in found), Status.NOT_ENOUGH)

    @property
    def breaches(self) -> list[Measure]:
        """The measures above their upper limit."""
        return [measure for measure in self.measures if measure.status is Status.BREACH]

    def measure(self, name: Watched) -> Measure:
        """One of them."""
        return next(measure for measure in self.measures if measure.name is name)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        measures = [
            {**asdict(measure), "limits": measure.limits.model_dump()} for measure in self.measures
        ]
        content = {**asdict(self), "measures": measures}
        return {"format_version": FORMAT_VERSION, "status": self.status, **content}


def summarise(tally: Tally, config: MonitorConfig, *, made_at: str) -> MonitorReport:
    """Judges a tally and gathers what people ask next."""
    profile = tally.placer.profile if tally.placer else None
    window = tally.window
    return MonitorReport(
        made_at=made_at,
        since=window.since.isoformat(timespec="seconds"),
        until=window.until.isoformat(timespec="seconds"),
        release_id=tally.release_id,
        records=tally.records,
        queries=tally.volume,
        distinct=len(tally.keys),
        routes=dict(sorted(tally.routes.items())),
        other_releases=dict(tally.other_releases.most_common()),
        outside=tally.outside,
        damaged=tally.damaged,
        damages=tally.damages,
        coverage=len(tally.seen) / len(tally.catalogue) if tally.paged else None,
        expected_new_words=profile.new_word_share if profile else None,
        measures=judge(tally, config),
        axes=axis_drifts(tally),
        lengths=tally.lengths,
        expected_lengths=profile.lengths if profile else None,
        new_words=_most_frequent(tally.new_words),
        low_queries=_most_frequent(tally.low_queries),
        hours=[_hour(start.isoformat(), slot) for start, slot in sorted(tally.slots.items())],
    )


def _most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    """The same order whatever order they were counted in."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_LISTED]


def _hour(start: str, slot: Slot) -> Hour:
    p50, p95 = (
        (round(float(value), 3) for value in np.percentile(slot.milliseconds, (50, 95)))
        if slot.milliseconds
        else (None, None)
    )
    return Hour(start, round(slot.queries, 1), slot.errors, slot.low_scores, p50, p95)
