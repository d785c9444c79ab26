"""What a share, a ratio or a percentile is at least and at most, at a level of confidence.

Closed forms in place of resampling: a log may hold millions of queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_TAIL = 5
"""Values that must lie beyond a percentile before anything is said about it."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `low` alone exceeds a limit with the confidence asked for."""

    value: float
    low: float
    high: float


def share_estimate(hits: int, trials: int, *, confidence: float) -> Estimate:
    """A share with the Wilson score interval, each side one-sided at the confidence.

    Args:
        hits: Of the trials.
        trials: 1 at least.
        confidence: Of each side.
    """
    z = NormalDist().inv_cdf(confidence)
    share = hits / trials
    middle = share + z * z / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if hits == 0 else max(0.0, (middle - reach) / scale)
    high = 1.0 if hits == trials else min(1.0, (middle + reach) / scale)
    return Estimate(share, low, high)


@dataclass
class RatioSums:
    """Sums of a ratio of two counts per query, such as new words by words.

    The words of one query are not independent, so the query is the unit: the variance of the ratio
    is that of its linearisation (Cochran 1977, Sampling Techniques, section 2.11).
    """

    queries: int = 0
    top: int = 0
    bottom: int = 0
    top_squared: int = 0
    bottom_squared: int = 0
    mixed: int = 0

    def add(self, top: int, bottom: int) -> None:
        """Adds a query."""
        self.queries += 1
        self.top += top
        self.bottom += bottom
        self.top_squared += top * top
        self.bottom_squared += bottom * bottom
        self.mixed += top * bottom

    def estimate(self, *, confidence: float) -> Estimate | None:
        """The ratio and its interval; None where the lower count is 0 in all."""
        if not self.bottom:
            return None
        ratio = self.top / self.bottom
        squares = self.top_squared - 2 * ratio * self.mixed + ratio * ratio * self.bottom_squared
        reach = NormalDist().inv_cdf(confidence) * math.sqrt(max(0.0, squares)) / self.bottom
        return Estimate(ratio, max(0.0, ratio - reach), min(1.0, ratio + reach))


def percentile_estimate(
    values: Sequence[float] | NDArray[np.float64], share: float, *, confidence: float
) -> Estimate | None:
    """A percentile with its distribution-free interval, between two of the values.

    The number of values below a percentile is binomial; its normal approximation names the ranks.

    Args:
        values: In any order.
        share: Such as 0.95.
        confidence: Of each side.

    Returns:
        None where fewer than five values are expected beyond the percentile.
    """
    ordered, count = np.sort(np.asarray(values, dtype=np.float64)), len(values)
    if count * min(share, 1 - share) < _TAIL:
        return None
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(count * share * (1 - share))
    ranks = (share * count, share * count - reach, share * count + reach)
    places = [min(count, max(1, math.ceil(rank))) - 1 for rank in ranks]
    return Estimate(*(float(ordered[place]) for place in places))
