"""Statistics over seeds, each against a slow oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from mmr.ablation.pooling import (
    MeasuredRung,
    comparison,
    gains_by_seed,
    metric_summary,
    slice_summary,
)
from mmr.ablation.rungs import Rung
from mmr.config.gate import GateConfig
from mmr.evaluation.metrics import METRICS
from mmr.evaluation.slices import Slice

CONFIG = GateConfig(resamples=4_999, min_slice_queries=2)


def _measured(name: str, *seeds: list[float]) -> MeasuredRung:
    """A rung whose metrics all have the given values, one list a seed."""
    queries = pd.Index([f"q{place}" for place in range(len(seeds[0]))], name="query_id")
    frames = {
        7 + place: pd.DataFrame(dict.fromkeys(METRICS, values), index=queries)
        for place, values in enumerate(seeds)
    }
    return MeasuredRung(Rung(name, name, ""), frames, [])


def test_mean_and_spread_are_those_of_the_seeds_means() -> None:
    seeds = [[0.1, 0.5, 0.9], [0.2, 0.6, 1.0], [0.0, 0.1, 0.2]]

    summary = metric_summary(_measured("a", *seeds), CONFIG)["ndcg_at_10"]

    means = [sum(values) / 3 for values in seeds]
    centre = sum(means) / 3
    assert summary["mean"] == pytest.approx(centre)
    assert summary["sd"] == pytest.approx((sum((m - centre) ** 2 for m in means) / 2) ** 0.5)
    assert summary["ci_low"] < centre < summary["ci_high"]


def test_one_seed_has_no_spread() -> None:
    assert metric_summary(_measured("a", [0.1, 0.5]), CONFIG)["ndcg_at_10"]["sd"] is None


def test_the_pooled_test_flips_each_querys_mean_over_seeds() -> None:
    random = np.random.default_rng(0)
    candidate = [random.random(9).round(2).tolist() for _ in range(3)]
    reference = [random.random(9).round(2).tolist() for _ in range(3)]

    compared = comparison(
        _measured("new", *candidate), _measured("old", *reference), slices=[], config=CONFIG
    )
    overall = compared["overall"]["ndcg_at_10"]

    differences = [
        sum(candidate[seed][query] - reference[seed][query] for seed in range(3)) / 3
        for query in range(9)
    ]
    observed = abs(sum(differences))
    extreme = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        >= observed - 1e-12
        for signs in itertools.product((1, -1), repeat=9)
    )
    assert overall["gain"] == pytest.approx(sum(differences) / 9)
    assert overall["p_value"] == pytest.approx(extreme / 2**9)  # 512 flips: the test is exact
    assert compared["reference"] == "old"


def test_the_interval_resamples_queries_and_not_seeds() -> None:
    random = np.random.default_rng(1)
    base = random.random(60)
    gain = random.normal(0.05, 0.2, 60)
    wobble = random.normal(0, 0.3, 60)  # cancels over the two seeds
    new = _measured("new", (base + gain + wobble).tolist(), (base + gain - wobble).tolist())
    old = _measured("old", base.tolist(), base.tolist())

    overall = comparison(new, old, slices=[], config=CONFIG)["overall"]["ndcg_at_10"]

    means = [random.choice(gain, 60).mean() for _ in range(20_000)]
    assert overall["ci_low"] == pytest.approx(np.quantile(means, 0.025), abs=0.006)
    assert overall["ci_high"] == pytest.approx(np.quantile(means, 0.975), abs=0.006)


def test_slices_and_seeds_are_told_apart() -> None:
    new = _measured("new", [1.0, 0.0, 0.5], [1.0, 0.0, 0.8])
    old = _measured("old", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    part = Slice("kind=colour", "colour", ["q0", "q2"])

    compared = comparison(new, old, slices=[part], config=CONFIG)

    assert slice_summary(new, [part])["kind=colour"]["ndcg_at_10"] == pytest.approx(0.825)
    assert compared["slices"]["kind=colour"]["gain"] == pytest.approx(0.325)
    assert compared["slices"]["kind=colour"]["queries"] == 2
    assert gains_by_seed(new, old)["mrr_at_10"] == pytest.approx([0.0, 0.1])
