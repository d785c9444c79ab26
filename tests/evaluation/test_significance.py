"""Tests and intervals keep what they promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr.evaluation.significance import (
    bootstrap_interval,
    compare_paired,
    harm_p_value,
    holm,
    proof_p_value,
)


def sign_flip_p(differences: list[float]) -> float:
    """Two-sided, by every one of the 2^n sign patterns."""
    observed = abs(sum(differences))
    totals = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(total >= observed - 1e-9 for total in totals) / len(totals)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=9))
def test_the_p_value_of_few_queries_equals_full_enumeration(differences: list[float]) -> None:
    old = np.linspace(0, 1, len(differences))
    result = compare_paired(
        old + np.asarray(differences), old, confidence=0.95, resamples=9_999, seed=0
    )
    # 1e-6: adding and subtracting `old` leaves rounding, which scipy's tie tolerance absorbs.
    assert result.p_value == pytest.approx(min(1.0, sign_flip_p(differences)), abs=1e-6)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sample = rng.normal(0.03, 0.2, 80)
        low, high = bootstrap_interval(sample, confidence=0.9, resamples=400, seed=trial)
        covered += low <= 0.03 <= high
    assert 0.83 <= covered / 200 <= 0.96


def test_the_test_raises_false_alarms_about_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for trial in range(200):
        old, new = rng.random(40), rng.random(40)
        result = compare_paired(new, old, confidence=0.95, resamples=200, seed=trial)
        alarms += result.p_value < 0.1
    assert 0.04 <= alarms / 200 <= 0.17


def test_equal_systems_have_no_gain_a_point_interval_and_p_one() -> None:
    values = np.random.default_rng(0).random(50)
    result = compare_paired(values, values, confidence=0.95, resamples=100, seed=0)
    assert (result.gain, result.ci_low, result.ci_high, result.p_value) == (0, 0, 0, 1)
    assert (result.better, result.worse, result.queries) == (0, 0, 50)


def test_the_same_seed_gives_the_same_figures() -> None:
    rng = np.random.default_rng(2)
    new, old = rng.random(60), rng.random(60)

    def run(seed: int):
        return compare_paired(new, old, confidence=0.95, resamples=500, seed=seed)

    assert run(5) == run(5)
    assert run(5).ci_low != run(6).ci_low


def test_harm_is_shown_only_for_losses_beyond_the_margin() -> None:
    rng = np.random.default_rng(3)
    old = rng.random(100)
    new = old - 0.05 + rng.normal(0, 0.05, 100)
    assert harm_p_value(new, old, margin=0.02, resamples=999, seed=0) < 0.01
    assert harm_p_value(new, old, margin=0.08, resamples=999, seed=0) > 0.99


def test_holm_matches_the_worked_example() -> None:
    # By hand: sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def closed_testing(p_values: list[float]) -> list[float]:
    """Holm's method the slow way: a hypothesis falls when every set that holds it does.

    Each of the 2^n sets is tested after Bonferroni: its smallest p-value times its size.
    """
    places = range(len(p_values))
    sets = [s for size in places for s in itertools.combinations(places, size + 1)]
    combined = {s: min(1.0, len(s) * min(p_values[place] for place in s)) for s in sets}
    return [max(p for s, p in combined.items() if place in s) for place in places]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_closed_testing_of_all_subsets(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_non_inferiority_is_proven_only_for_losses_well_below_the_margin() -> None:
    rng = np.random.default_rng(4)
    old = rng.random(100)
    new = old - 0.01 + rng.normal(0, 0.05, 100)
    assert proof_p_value(new, old, margin=0.05, resamples=999, seed=0) < 0.01
    assert proof_p_value(new, old, margin=0.01, resamples=999, seed=0) > 0.05
    assert proof_p_value(new[:4], old[:4], margin=0.05, resamples=999, seed=0) > 0.05
