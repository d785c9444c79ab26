"""Drift, shares and percentiles against slow and obvious counterparts, and against chance."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr.monitoring.drift import psi, psi_of_chance
from mmr.monitoring.intervals import RatioSums, percentile_estimate, share_estimate

counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


def slow_psi(observed: Sequence[int], expected: Sequence[int]) -> float:
    """The textbook, bin by bin, half a query added to each."""
    total = 0.0
    for found, wanted in zip(observed, expected, strict=True):
        p = (found + 0.5) / (sum(observed) + 0.5 * len(observed))
        q = (wanted + 0.5) / (sum(expected) + 0.5 * len(expected))
        total += (p - q) * math.log(p / q)
    return total


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(
    st.integers(0, 10_000), min_size=n, max_size=n)] * 2)))  # fmt: skip
def test_psi_is_the_textbooks_is_never_negative_and_is_symmetric(
    pair: tuple[list[int], list[int]],
) -> None:
    one, other = pair
    assert psi(one, other) == pytest.approx(slow_psi(one, other), abs=1e-12)
    assert psi(one, other) >= -1e-12
    assert psi(one, other) == pytest.approx(psi(other, one), abs=1e-12)


@given(counts)
def test_psi_of_equal_histograms_is_zero(histogram: list[int]) -> None:
    assert psi(histogram, histogram) == pytest.approx(0, abs=1e-12)


@given(counts, st.randoms())
def test_psi_does_not_depend_on_the_order_of_the_bins(histogram: list[int], random) -> None:
    other = [count + place for place, count in enumerate(histogram)]
    order = list(range(len(histogram)))
    random.shuffle(order)
    assert psi([histogram[n] for n in order], [other[n] for n in order]) == pytest.approx(
        psi(histogram, other), abs=1e-9
    )


def test_empty_bin_is_a_large_drift_and_no_infinite_one() -> None:
    assert 0.25 < psi([500, 0], [250, 250]) < 20


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([(300, 2000), (1000, 500)]))
def test_chance_exceeds_what_is_said_of_it_about_as_often_as_is_said(
    seed: int, sizes: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    found, wanted = (rng.multinomial(size, [0.1] * 10, size=1000) for size in sizes)
    bound = psi_of_chance(*sizes, bins=10, confidence=0.95)
    exceeded = sum(psi(a, b) > bound for a, b in zip(found, wanted, strict=True))
    assert 15 < exceeded < 95  # of 1000; 50 expected, 7 a standard deviation


def test_more_axes_more_room_for_chance() -> None:
    one, eight = (psi_of_chance(500, 500, bins=10, confidence=0.99, tests=n) for n in (1, 8))
    assert one < eight
    assert psi_of_chance(500, 500, bins=1, confidence=0.99) == 0


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_lies_in_its_interval_and_the_interval_in_0_to_1(pair: tuple[int, int]) -> None:
    found = share_estimate(*pair, confidence=0.99)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_one_failure_in_a_few_is_no_proof_of_many() -> None:
    assert share_estimate(1, 10, confidence=0.99).low < 0.02
    assert share_estimate(100, 1000, confidence=0.99).low > 0.07
    assert share_estimate(0, 1000, confidence=0.99).low == 0


def test_wilson_interval_solves_its_own_equation() -> None:
    z = NormalDist().inv_cdf(0.99)
    found = share_estimate(30, 400, confidence=0.99)
    for end in (found.low, found.high):
        distance = abs(30 / 400 - end) / math.sqrt(end * (1 - end) / 400)
        assert distance == pytest.approx(z, rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60))
def test_ratio_is_that_of_the_totals_and_its_error_that_of_the_queries(
    pairs: list[tuple[int, int]],
) -> None:
    sums = RatioSums()
    for top, bottom in pairs:
        sums.add(top, bottom)
    found = sums.estimate(confidence=0.975)
    if not sum(bottom for _, bottom in pairs):
        assert found is None
        return
    assert found is not None
    ratio = sum(top for top, _ in pairs) / sum(bottom for _, bottom in pairs)
    assert found.value == ratio
    spread = math.sqrt(sum((top - ratio * bottom) ** 2 for top, bottom in pairs))
    reach = NormalDist().inv_cdf(0.975) * spread / sum(bottom for _, bottom in pairs)
    assert found.low == pytest.approx(max(0, ratio - reach), abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentile_holds_the_true_one_about_as_often_as_is_said(share: float) -> None:
    rng = np.random.default_rng(1)
    true = -math.log(1 - share)  # of the exponential distribution
    above = 0
    for _ in range(400):
        found = percentile_estimate(rng.exponential(size=1000), share, confidence=0.95)
        assert found is not None
        assert found.low <= found.value <= found.high
        above += found.low > true
    assert above < 45  # of 400; 20 expected


def test_percentile_that_hangs_on_a_handful_of_values_is_not_told() -> None:
    assert percentile_estimate([1.0] * 499, 0.99, confidence=0.99) is None
    assert percentile_estimate([1.0] * 500, 0.99, confidence=0.99) is not None
    assert percentile_estimate([], 0.5, confidence=0.99) is None
