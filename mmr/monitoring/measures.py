"""Judges what was counted: each measure with its interval, its limits, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mmr.config.monitor import Limits, MonitorConfig, Watched
from mmr.monitoring.drift import psi, psi_of_chance
from mmr.monitoring.intervals import Estimate, percentile_estimate, share_estimate
from mmr.monitoring.tally import Tally

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
_PERCENTILES = {Watched.P50_MS: 0.5, Watched.P95_MS: 0.95, Watched.P99_MS: 0.99}
NO_PROFILE = (
    "the release has no query profile, as it is from before profiles were kept: `mmr run` makes "
    "one that has"
)


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


@dataclass(frozen=True)
class AxisDrift:
    """Drift along one principal axis of the training queries.

    Attributes:
        axis: From 1, by falling variance.
        explained: Share of the training queries' variance along it.
        psi: Of the bins.
        sample: Distinct queries that tell their bin.
        observed: Share of them in each bin.
        expected: Share of the training queries.
    """

    axis: int
    explained: float
    psi: float
    sample: int
    observed: list[float]
    expected: list[float]


def axis_drifts(tally: Tally) -> list[AxisDrift]:
    """Every axis, in order; none without a profile or a query."""
    if tally.placer is None:
        return []
    pairs = zip(tally.placer.profile.axes, tally.bins, strict=True)
    return [
        AxisDrift(
            axis=number,
            explained=axis.explained,
            psi=psi(bins, axis.expected),
            sample=sum(bins),
            observed=[count / sum(bins) for count in bins],
            expected=[count / sum(axis.expected) for count in axis.expected],
        )
        for number, (axis, bins) in enumerate(pairs, start=1)
        if sum(bins)
    ]


def judge(tally: Tally, config: MonitorConfig) -> list[Measure]:
    """Every measure, in the order of `TITLES`."""
    return [
        _embedding_drift(tally, config),
        _length_drift(tally, config),
        _new_words(tally, config),
        _low_scores(tally, config),
        *_answers(tally, config),
        _unseen_products(tally, config),
        *_latencies(tally, config),
    ]


def _embedding_drift(tally: Tally, config: MonitorConfig) -> Measure:
    name, drifts = Watched.EMBEDDING_DRIFT, axis_drifts(tally)
    if tally.placer is None:
        return _silent(name, config, Status.NOT_RECORDED, NO_PROFILE)
    if not drifts:
        return _silent(name, config, Status.NOT_ENOUGH, "no query tells its bins")
    profile = tally.placer.profile
    confidence, tests = config.confidence, len(profile.axes)
    chances = {
        drift.axis: psi_of_chance(
            drift.sample,
            profile.placed,
            bins=len(drift.expected),
            confidence=confidence,
            tests=tests,
        )
        for drift in drifts
    }
    # An axis that few queries tell of must not hide one that has proof: what is above chance first.
    worst = max(drifts, key=lambda drift: (drift.psi > chances[drift.axis], drift.psi))
    sample = min(len(tally.keys), *(drift.sample for drift in drifts))
    return _drift(
        name,
        config,
        worst.psi,
        chance=chances[worst.axis],
        sample=sample,
        note=f"axis {worst.axis} of {tests}, {profile.placed:,} training queries",
    )


def _length_drift(tally: Tally, config: MonitorConfig) -> Measure:
    name, sample = Watched.LENGTH_DRIFT, sum(tally.lengths)
    if tally.placer is None:
        return _silent(name, config, Status.NOT_RECORDED, NO_PROFILE)
    if not sample:
        return _silent(name, config, Status.NOT_ENOUGH, "no query tells its words")
    profile = tally.placer.profile
    pairs = list(zip(tally.lengths, profile.lengths, strict=True))
    used = [pair for pair in pairs if any(pair)]
    chance = psi_of_chance(sample, profile.queries, bins=len(used), confidence=config.confidence)
    means = [_mean_length(counts) for counts in (tally.lengths, profile.lengths)]
    return _drift(
        name,
        config,
        psi([found for found, _ in used], [wanted for _, wanted in used]),
        chance=chance,
        sample=sample,
        note=f"{means[0]:.1f} words, {means[1]:.1f} in training",
    )


def _mean_length(counts: list[int]) -> float:
    return sum(words * count for words, count in enumerate(counts)) / sum(counts)


def _new_words(tally: Tally, config: MonitorConfig) -> Measure:
    name = Watched.NEW_WORDS
    if tally.placer is None:
        return _silent(name, config, Status.NOT_RECORDED, NO_PROFILE)
    found = tally.new.estimate(confidence=config.confidence)
    if found is None:
        return _silent(name, config, Status.NOT_ENOUGH, "no query tells its words")
    usual = tally.placer.profile.new_word_share
    above = Estimate(*(max(0.0, part - usual) for part in (found.value, found.low, found.high)))
    return _estimated(
        name,
        config,
        above,
        sample=tally.new.queries,
        least=config.min_queries,
        note=f"{found.value:.1%} of {tally.new.bottom:,} words, {usual:.1%} expected",
    )


def _low_scores(tally: Tally, config: MonitorConfig) -> Measure:
    name = Watched.LOW_SCORES
    if tally.placer is None:
        return _silent(name, config, Status.NOT_RECORDED, NO_PROFILE)
    reference = tally.placer.profile.scores
    if reference is None:
        note = "too few queries were held out of training to say which scores are low"
        return _silent(name, config, Status.NOT_RECORDED, note)
    note = f"best cosine below {reference.low:.3f}, as for 5 % of {reference.queries:,} queries"
    return _share(name, config, tally.low_scores, of=tally.scored, note=note)


def _answers(tally: Tally, config: MonitorConfig) -> Iterator[Measure]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common(3))
    yield _share(Watched.ZERO_RESULTS, config, tally.zero_results, of=tally.answered, note="")
    yield _share(Watched.ERRORS, config, tally.errors.total(), of=tally.records, note=kinds)


def _unseen_products(tally: Tally, config: MonitorConfig) -> Measure:
    name = Watched.UNSEEN_PRODUCTS
    if not tally.paged:
        note = "no record tells its products" if tally.answered else "no answers"
        status = Status.NOT_RECORDED if tally.answered else Status.NOT_ENOUGH
        return _silent(name, config, status, note)
    seen, products = len(tally.seen), len(tally.catalogue)
    value = 1 - seen / products
    note = f"{seen:,} of {products:,} products were shown (coverage {seen / products:.1%})"
    exact = Estimate(value, value, value)  # counted, not sampled; yet few queries show few products
    return _estimated(name, config, exact, sample=tally.paged, least=config.min_records, note=note)


def _latencies(tally: Tally, config: MonitorConfig) -> Iterator[Measure]:
    milliseconds = tally.milliseconds
    for name, share in _PERCENTILES.items():
        found = percentile_estimate(milliseconds, share, confidence=config.confidence)
        if found is None:
            note = f"{len(milliseconds):,} answers"
            yield _silent(name, config, Status.NOT_ENOUGH, note, sample=len(milliseconds))
            continue
        yield _estimated(
            name, config, found, sample=len(milliseconds), least=config.min_records, note=""
        )


def _share(name: Watched, config: MonitorConfig, hits: int, *, of: int, note: str) -> Measure:
    if not of:
        return _silent(name, config, Status.NOT_ENOUGH, "no answers")
    found = share_estimate(hits, of, confidence=config.confidence)
    counts = f"{hits:,} of {of:,}"
    return _estimated(
        name,
        config,
        found,
        sample=of,
        least=config.min_records,
        note=f"{counts}: {note}" if note else counts,
    )


def _estimated(
    name: Watched, config: MonitorConfig, found: Estimate, *, sample: int, least: int, note: str
) -> Measure:
    """A limit is exceeded when the lower end of the interval is above it."""
    limits = config.limits(name)
    status = Status.NOT_ENOUGH if sample < least else _status(found.low, limits)
    return Measure(
        name, status, found.value, sample, limits, note=note, low=found.low, high=found.high
    )


def _drift(
    name: Watched, config: MonitorConfig, value: float, *, chance: float, sample: int, note: str
) -> Measure:
    """A limit is exceeded when the value is above it and above what chance alone reaches."""
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


def _silent(
    name: Watched, config: MonitorConfig, status: Status, note: str, *, sample: int = 0
) -> Measure:
    return Measure(name, status, None, sample, config.limits(name), note=note)
