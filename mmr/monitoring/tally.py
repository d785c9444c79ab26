"""Counts a query log in one pass: memory grows with its distinct queries, not with its length."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from mmr.monitoring.intervals import RatioSums
from mmr.monitoring.records import DamagedLineError, QueryRecord, parse_record
from mmr.release.query_profile import LENGTHS, QueryPlacer
from mmr.release.query_words import words_of

_LISTED_DAMAGES = 20


@dataclass(frozen=True)
class Window:
    """From `since`, up to and without `until`; UTC."""

    since: datetime
    until: datetime

    @property
    def duration(self) -> timedelta:
        return self.until - self.since

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.since <= moment < self.until


@dataclass(frozen=True)
class RawLine:
    """A line of a log.

    Attributes:
        place: File and number, for people.
        data: As it stands there.
        unfinished: Whether it is the end of a file that is still being written.
    """

    place: str
    data: bytes
    unfinished: bool


@dataclass
class Slot:
    """One hour of the window."""

    queries: float = 0.0
    errors: int = 0
    low_scores: int = 0
    milliseconds: array[float] = field(default_factory=lambda: array("d"))


@dataclass
class Tally:
    """What was counted.

    Attributes:
        window: Which records count.
        release_id: Whose records count.
        placer: The release's profile; None for a release without one.
        catalogue: Ids of the release's products.
        records: Lines that count.
        volume: Queries that they stand for, as a record of a share of 0.1 stands for ten.
        routes: Records by route.
        other_releases: Records of the window that another release answered.
        outside: Records outside the window.
        damaged: Lines that are no record; the first of them are listed in `damages`.
        errors: Records without an answer, by the type of the failure.
        zero_results: Answers without a product.
        scored: Answers with a best score, and of these the low ones.
        keys: Hashes of the distinct queries.
        lengths: Distinct queries by number of words.
        new: New words by words, over distinct queries.
        bins: Distinct queries in each bin of each axis.
        seen: Products of the catalogue that were on a first page.
        paged: Answers whose first page is on record.
        new_words: New words by the distinct queries that have them, where the log holds text.
        low_queries: Queries with a low score by how often they were asked, likewise.
        slots: By hour.
    """

    window: Window
    release_id: str
    placer: QueryPlacer | None
    catalogue: frozenset[str]
    records: int = 0
    volume: float = 0.0
    routes: Counter[str] = field(default_factory=Counter)
    other_releases: Counter[str] = field(default_factory=Counter)
    outside: int = 0
    damaged: int = 0
    damages: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    zero_results: int = 0
    scored: int = 0
    low_scores: int = 0
    keys: set[int] = field(default_factory=set)
    lengths: list[int] = field(default_factory=lambda: [0] * LENGTHS)
    new: RatioSums = field(default_factory=RatioSums)
    bins: list[list[int]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    paged: int = 0
    new_words: Counter[str] = field(default_factory=Counter)
    low_queries: Counter[str] = field(default_factory=Counter)
    slots: dict[datetime, Slot] = field(default_factory=lambda: defaultdict(Slot))

    def __post_init__(self) -> None:
        """One count for each bin of the profile."""
        if self.placer and not self.bins:
            self.bins = [[0] * len(axis.expected) for axis in self.placer.profile.axes]

    @property
    def answered(self) -> int:
        """Records with an answer."""
        return self.records - self.errors.total()

    @property
    def milliseconds(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Of every answer."""
        return np.concatenate(
            [np.empty(0), *(np.asarray(slot.milliseconds) for slot in self.slots.values())]
        )

    def read(self, lines: Iterable[RawLine]) -> None:
        """Counts lines; one that is no record is named, unless it is still being written."""
        for line in lines:
            try:
                self.add(parse_record(line.data))
            except DamagedLineError as error:
                if not line.unfinished:
                    self._damage(f"{line.place}: {error}")

    def add(self, record: QueryRecord) -> None:
        """Counts one record."""
        if not self.window.holds(record.time):
            self.outside += 1
            return
        if record.release_id != self.release_id:
            self.other_releases[record.release_id] += 1
            return
        if not self._bins_fit(record):
            raise DamagedLineError("bins: they are not those of the release's profile")
        self.records += 1
        self.volume += 1 / record.share
        self.routes[record.route] += 1
        slot = self.slots[record.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)]
        slot.queries += 1 / record.share
        if record.error is not None:
            self.errors[record.error] += 1
            slot.errors += 1
            return
        slot.milliseconds.append(record.latency_ms)
        self._count_answer(record, slot)
        key = record.key
        if key is not None and hash(key) not in self.keys:
            self.keys.add(hash(key))
            self._count_query(record)

    def _count_answer(self, record: QueryRecord, slot: Slot) -> None:
        self.zero_results += not record.results
        if record.shown is not None:
            self.paged += 1
            self.seen.update(self.catalogue.intersection(record.shown))
        scores = self.placer.profile.scores if self.placer else None
        if scores is None or record.top_score is None:
            return
        self.scored += 1
        if record.top_score < scores.low:
            self.low_scores += 1
            slot.low_scores += 1
            if record.query is not None:
                self.low_queries[record.query] += 1

    def _count_query(self, record: QueryRecord) -> None:
        if record.words is not None:
            self.lengths[min(record.words, LENGTHS - 1)] += 1
        if record.new_words is not None and record.words is not None:
            self.new.add(record.new_words, record.words)
            if record.new_words and record.query is not None and self.placer:
                self.new_words.update(set(self.placer.new_words(words_of(record.query))))
        for axis, place in enumerate(record.bins or ()):
            if place is not None:
                self.bins[axis][place] += 1

    def _bins_fit(self, record: QueryRecord) -> bool:
        if record.bins is None:
            return True
        return len(record.bins) == len(self.bins) and all(
            place is None or place < len(counts)
            for place, counts in zip(record.bins, self.bins, strict=True)
        )

    def _damage(self, what: str) -> None:
        self.damaged += 1
        if len(self.damages) < _LISTED_DAMAGES:
            self.damages.append(what)
