"""A measure: its value, its limits, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mmr.config.monitor import Limits, MonitorConfig, Watched
from mmr.monitoring.intervals import Estimate, share_estimate

TITLES = {
    Watched.EMBEDDING_DRIFT: "embedding drift, PSI of the worst axis",
    Watched.LENGTH_DRIFT: "query length drift, PSI",
    Watched.NEW_WORDS: "new words, share above what is to be expected",
    Watched.LOW_SCORES: "answers with a low score",
    Watched.ZERO_RESULTS: "answers without a product",
    Watched.ERRORS: "queries that failed",
    Watched.UNSEEN_PRODUCTS: "products on no first page",
    Watched.P50_MS: "latency p50, ms",
    Watched.P95_MS: "latency p95, ms",
    Watched.P99_MS: "latency p99, ms",
}


class Status(StrEnum):
    """What is known of a measure."""

    OK = "ok"
    WARN = "warn"
    BREACH = "breach"
    NOT_ENOUGH = "not enough"
    """Too few queries to tell."""
    NOT_RECORDED = "not recorded"
    """Log or release do not hold what it takes."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: Which.
        value: What was measured; None where nothing could be.
        low: The value is not below this, with the confidence of the settings.
        high: Nor above this; None for drift, which has a `chance` in place of an interval.
        chance: What chance alone reaches; None for all but drift.
        sample: Queries or answers that it comes from.
        limits: Of the settings.
        note: What is behind it.
    """

    name: Watched
    status: Status
    value: float | None
    sample: int
    limits: Limits
    note: str
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @property
    def title(self) -> str:
        """For people."""
        return TITLES[self.name]


def share_measure(
    name: Watched, config: MonitorConfig, hits: int, *, of: int, note: str
) -> Measure:
    """The share, 0 to 1, of `hits` in `of` answers, judged by its interval."""
    if not of:
        return silent_measure(name, config, Status.NOT_ENOUGH, "no answers")
    found = share_estimate(hits, of, confidence=config.confidence)
    counts = f"{hits:,} of {of:,}"
    return estimated_measure(
        name,
        config,
        found,
        sample=of,
        least=config.min_records,
        note=f"{counts}: {note}" if note else counts,
    )


def estimated_measure(
    name: Watched, config: MonitorConfig, found: Estimate, *, sample: int, least: int, note: str
) -> Measure:
    """A value with its interval: a limit is exceeded when the lower end is above it.

    Both are in the unit of the measure's title; a sample below `least` is not enough to tell.
    """
    limits = config.limits(name)
    status = Status.NOT_ENOUGH if sample < least else _status(found.low, limits)
    return Measure(
        name, status, found.value, sample, limits, note=note, low=found.low, high=found.high
    )


def drift_measure(
    name: Watched, config: MonitorConfig, value: float, *, chance: float, sample: int, note: str
) -> Measure:
    """A PSI over `sample` distinct queries, beside what chance alone reaches (`psi_of_chance`).

    A limit is exceeded when the value is above both.
    """
    limits = config.limits(name)
    if sample < config.min_queries:
        status = Status.NOT_ENOUGH
    elif value > chance:
        status = _status(value, limits)
    else:
        lowest = min((x for x in (limits.warn, limits.breach) if x is not None), default=None)
        tells = lowest is None or value <= lowest or chance <= lowest
        status = Status.OK if tells else Status.NOT_ENOUGH
    return Measure(name, status, value, sample, limits, note=note, chance=chance)


def _status(value: float, limits: Limits) -> Status:
    if limits.breach is not None and value > limits.breach:
        return Status.BREACH
    if limits.warn is not None and value > limits.warn:
        return Status.WARN
    return Status.OK


def silent_measure(
    name: Watched, config: MonitorConfig, status: Status, note: str, *, sample: int = 0
) -> Measure:
    """A measure that has no value, and why."""
    return Measure(name, status, None, sample, config.limits(name), note=note)
