"""How far a sample of queries is from the training queries, and how far chance alone would go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri

_HALF = 0.5  # added to every count, so that an empty bin is no infinite drift (Jeffreys)


def psi(observed: Sequence[int], expected: Sequence[int]) -> float:
    """Population stability index of two histograms over the same bins.

    The sum of `(p - q) * ln(p / q)`, where p and q are the shares of a bin, half a query added to
    each count: 0 for equal shares, symmetric. By convention 0.1 is a moderate change and 0.25 a
    large one (Siddiqi 2006, Credit Risk Scorecards).

    Args:
        observed: Queries in each bin.
        expected: The same of the reference.
    """
    p, q = (
        (np.asarray(counts, dtype=np.float64) + _HALF) / (sum(counts) + _HALF * len(counts))
        for counts in (observed, expected)
    )
    return float(((p - q) * np.log(p / q)).sum())


def psi_of_chance(
    observed: int, expected: int, *, bins: int, confidence: float, tests: int = 1
) -> float:
    """The PSI that two samples of one distribution exceed with probability `1 - confidence`.

    Without drift, PSI divided by `1 / observed + 1 / expected` is distributed as chi-squared with
    `bins - 1` degrees of freedom (Yurdakul 2018, Western Michigan University).

    Args:
        observed: Queries of one sample, 1 at least.
        expected: Queries of the other.
        bins: Bins of the histograms.
        confidence: That chance stays below.
        tests: Values of which the largest is looked at; each is held to its part (Bonferroni).
    """
    if bins < 2:
        return 0.0
    return float(chdtri(bins - 1, (1 - confidence) / tests)) * (1 / observed + 1 / expected)
