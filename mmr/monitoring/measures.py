"""Judges what was counted: each measure with its interval, its limits, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmr.config.monitor import MonitorConfig, Watched
from mmr.monitoring.drift import psi, psi_of_chance
from mmr.monitoring.intervals import Estimate, percentile_estimate
from mmr.monitoring.measure import (
    Measure,
    Status,
    drift_measure,
    estimated_measure,
    share_measure,
    silent_measure,
)
from mmr.monitoring.tally import Tally

_PERCENTILES = {Watched.P50_MS: 0.5, Watched.P95_MS: 0.95, Watched.P99_MS: 0.99}
NO_PROFILE = (
    "the release has no query profile, as it is from before profiles were kept: `mmr run` makes "
    "one that has"
)


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
    """Every measure, in the order that reports show them."""
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
        return silent_measure(name, config, Status.NOT_RECORDED, NO_PROFILE)
    if not drifts:
        return silent_measure(name, config, Status.NOT_ENOUGH, "no query tells its bins")
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
    return drift_measure(
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
        return silent_measure(name, config, Status.NOT_RECORDED, NO_PROFILE)
    if not sample:
        return silent_measure(name, config, Status.NOT_ENOUGH, "no query tells its words")
    profile = tally.placer.profile
    pairs = list(zip(tally.lengths, profile.lengths, strict=True))
    used = [pair for pair in pairs if any(pair)]
    chance = psi_of_chance(sample, profile.queries, bins=len(used), confidence=config.confidence)
    means = [_mean_length(counts) for counts in (tally.lengths, profile.lengths)]
    return drift_measure(
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
        return silent_measure(name, config, Status.NOT_RECORDED, NO_PROFILE)
    found = tally.new.estimate(confidence=config.confidence)
    if found is None:
        return silent_measure(name, config, Status.NOT_ENOUGH, "no query tells its words")
    usual = tally.placer.profile.new_word_share
    above = Estimate(*(max(0.0, part - usual) for part in (found.value, found.low, found.high)))
    return estimated_measure(
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
        return silent_measure(name, config, Status.NOT_RECORDED, NO_PROFILE)
    reference = tally.placer.profile.scores
    if reference is None:
        note = "too few queries were held out of training to say which scores are low"
        return silent_measure(name, config, Status.NOT_RECORDED, note)
    note = f"best cosine below {reference.low:.3f}, as for 5 % of {reference.queries:,} queries"
    return share_measure(name, config, tally.low_scores, of=tally.scored, note=note)


def _answers(tally: Tally, config: MonitorConfig) -> Iterator[Measure]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common(3))
    yield share_measure(
        Watched.ZERO_RESULTS, config, tally.zero_results, of=tally.answered, note=""
    )
    yield share_measure(Watched.ERRORS, config, tally.errors.total(), of=tally.records, note=kinds)


def _unseen_products(tally: Tally, config: MonitorConfig) -> Measure:
    name = Watched.UNSEEN_PRODUCTS
    if not tally.paged:
        note = "no record tells its products" if tally.answered else "no answers"
        status = Status.NOT_RECORDED if tally.answered else Status.NOT_ENOUGH
        return silent_measure(name, config, status, note)
    seen, products = len(tally.seen), len(tally.catalogue)
    value = 1 - seen / products
    note = f"{seen:,} of {products:,} products were shown (coverage {seen / products:.1%})"
    exact = Estimate(value, value, value)  # counted, not sampled; yet few queries show few products
    return estimated_measure(
        name, config, exact, sample=tally.paged, least=config.min_records, note=note
    )


def _latencies(tally: Tally, config: MonitorConfig) -> Iterator[Measure]:
    milliseconds = tally.milliseconds
    for name, share in _PERCENTILES.items():
        found = percentile_estimate(milliseconds, share, confidence=config.confidence)
        if found is None:
            note = f"{len(milliseconds):,} answers"
            yield silent_measure(name, config, Status.NOT_ENOUGH, note, sample=len(milliseconds))
            continue
        yield estimated_measure(
            name, config, found, sample=len(milliseconds), least=config.min_records, note=""
        )
