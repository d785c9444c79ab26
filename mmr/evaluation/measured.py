"""What the gate looks at beside rankings: how the candidate will serve, and how old its data is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ServingFigures:
    """The candidate as it would serve, on the machine that ran the gate.

    Attributes:
        index_recall: Recall@100 of its index against exact search, 0 to 1.
        index_queries: Queries that was measured on.
        parity_distance: Largest cosine distance between exported and trained query encoder.
        parity_changed: Queries for which the export finds other products.
        parity_queries: Queries both were asked.
        latency_p50_ms: Median time of encoding one query alone, one thread, milliseconds.
        latency_p99_ms: The same for the slowest of a hundred.
        latency_queries: Queries that were timed.
    """

    index_recall: float
    index_queries: int
    parity_distance: float
    parity_changed: int
    parity_queries: int
    latency_p50_ms: float
    latency_p99_ms: float
    latency_queries: int


@dataclass(frozen=True)
class DataAge:
    """How fresh the data is.

    Attributes:
        newest: When its newest part is from; None where the dataset does not tell.
        of: What that is the time of, for people.
        days: Age at the time of the gate; negative where a clock is wrong.
    """

    newest: datetime | None
    of: str
    days: float | None

    @classmethod
    def at(cls, now: datetime, *, newest: datetime | None, of: str) -> DataAge:
        """Works out the age."""
        return cls(newest, of, None if newest is None else (now - newest).total_seconds() / 86_400)


@dataclass(frozen=True)
class Measured:
    """Everything that is measured once per candidate."""

    serving: ServingFigures
    data_age: DataAge
