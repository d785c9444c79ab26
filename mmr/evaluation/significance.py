"""Is a gain real? Paired resampling over queries.

Both systems answer the same queries, so only the difference per query counts. The interval is a
percentile bootstrap of the mean difference; the p-value comes from flipping the sign of whole
differences at random, which is exact under "the two systems are exchangeable on every query"
(Smucker, Allan and Carterette 2007, CIKM, compare such tests for retrieval).

Queries are taken as independent. Where many are paraphrases of one another, intervals are too
narrow; the remedy is one query per need, not another formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_BATCH_VALUES = 2_000_000  # resampled values held at a time, 16 MB of float64

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairedComparison:
    """A candidate against a reference on the same queries, in one metric.

    Attributes:
        queries: Number of queries.
        candidate: Mean of the candidate.
        reference: Mean of the reference.
        gain: `candidate - reference`.
        ci_low: Lower end of the interval around `gain`.
        ci_high: Upper end of it.
        p_value: Two-sided p-value of "no difference".
        better: Queries on which the candidate is better.
        worse: Queries on which it is worse.
    """

    queries: int
    candidate: float
    reference: float
    gain: float
    ci_low: float
    ci_high: float
    p_value: float
    better: int
    worse: int


def compare_paired(
    candidate: Float64Array,
    reference: Float64Array,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> PairedComparison:
    """Compares two systems query by query.

    Args:
        candidate: `(queries,)`, one metric value per query.
        reference: `(queries,)`, the same queries in the same order.
        confidence: Level of the interval, for example 0.95.
        resamples: Resamples of the interval and of the test.
        seed: Seed of both.
    """
    differences = np.asarray(candidate, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    low, high = bootstrap_interval(
        differences, confidence=confidence, resamples=resamples, seed=seed
    )
    return PairedComparison(
        queries=len(differences),
        candidate=float(np.mean(candidate)),
        reference=float(np.mean(reference)),
        gain=float(differences.mean()),
        ci_low=low,
        ci_high=high,
        p_value=_sign_flip_p(differences, "two-sided", resamples=resamples, seed=seed),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def bootstrap_interval(
    differences: Float64Array, *, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; a point where all differences are equal."""
    if np.all(differences == differences[0]):
        return float(differences[0]), float(differences[0])
    result = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=_batch(len(differences)),
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def harm_p_value(
    candidate: Float64Array, reference: Float64Array, *, margin: float, resamples: int, seed: int
) -> float:
    """One-sided p-value of "the candidate loses no more than `margin`": small means harm is shown.

    Args:
        candidate: `(queries,)`, one metric value per query.
        reference: `(queries,)`, the same queries in the same order.
        margin: Mean loss that is tolerated, at least 0.
        resamples: Resamples of the test.
        seed: Its seed.
    """
    shifted = np.asarray(candidate, dtype=np.float64) - reference + margin
    return _sign_flip_p(shifted, "less", resamples=resamples, seed=seed)


def proof_p_value(
    candidate: Float64Array, reference: Float64Array, *, margin: float, resamples: int, seed: int
) -> float:
    """One-sided p-value of "the candidate loses `margin` or more": small proves non-inferiority.

    Args:
        candidate: `(queries,)`, one metric value per query.
        reference: `(queries,)`, the same queries in the same order.
        margin: Mean loss that is tolerated, at least 0.
        resamples: Resamples of the test.
        seed: Its seed.
    """
    shifted = np.asarray(candidate, dtype=np.float64) - reference + margin
    return _sign_flip_p(shifted, "greater", resamples=resamples, seed=seed)


class MarginTest(Protocol):
    """A test against a tolerated loss: `harm_p_value` or `proof_p_value`."""

    def __call__(
        self,
        candidate: Float64Array,
        reference: Float64Array,
        *,
        margin: float,
        resamples: int,
        seed: int,
    ) -> float:
        """The p-value."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests so that *any* false alarm stays below the level.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _sign_flip_p(
    differences: Float64Array, alternative: str, *, resamples: int, seed: int
) -> float:
    moved = differences[differences != 0]  # flipping a zero changes nothing
    if not len(moved):
        return 1.0
    if len(moved) == 1:
        moved = np.append(moved, 0.0)  # scipy wants two; a zero changes no sum
    result = stats.permutation_test(
        (moved,),
        _total,
        permutation_type="samples",  # of one sample: flips signs
        alternative=alternative,
        n_resamples=resamples,
        batch=_batch(len(moved)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _total(differences: Float64Array, axis: int) -> Float64Array:
    total: Float64Array = differences.sum(axis=axis)
    return total


def _batch(values: int) -> int:
    return max(1, _BATCH_VALUES // values)
