"""What several seeds say together.

Seeds are repetitions of the same system, queries are what a claim generalises over. So each
query's metric is averaged over the seeds first, and the paired resampling draws queries; the
spread over seeds is told beside it, not mixed into it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmr.ablation.rungs import Rung
from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import compare_systems
from mmr.evaluation.metrics import METRICS, mean_metrics
from mmr.evaluation.significance import bootstrap_interval
from mmr.evaluation.slices import Slice
from mmr.evaluation.systems import SystemScores


@dataclass(frozen=True)
class MeasuredRung:
    """A rung with its metrics.

    Attributes:
        rung: What was trained and measured.
        per_seed: Seed to metrics per query: columns `METRICS`, indexed by `query_id`.
        training: One record a seed for the results file: fingerprint, steps, seconds.
    """

    rung: Rung
    per_seed: Mapping[int, pd.DataFrame]
    training: Sequence[Mapping[str, Any]]

    @property
    def pooled(self) -> pd.DataFrame:
        """Each query's mean over the seeds."""
        frames = list(self.per_seed.values())
        return sum(frames[1:], start=frames[0]) / len(frames)


def metric_summary(measured: MeasuredRung, config: GateConfig) -> dict[str, dict[str, Any]]:
    """Per metric: `mean`, `sd` over seeds (None for one seed), and an interval over queries."""
    pooled = measured.pooled
    summary: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        means = [float(frame[metric].mean()) for frame in measured.per_seed.values()]
        values = pooled[metric].to_numpy(dtype=np.float64)
        low, high = bootstrap_interval(
            values, confidence=config.confidence, resamples=config.resamples, seed=config.seed
        )
        summary[metric] = {
            "mean": float(values.mean()),
            "sd": statistics.stdev(means) if len(means) > 1 else None,
            "ci_low": low,
            "ci_high": high,
        }
    return summary


def slice_summary(measured: MeasuredRung, slices: Sequence[Slice]) -> dict[str, dict[str, float]]:
    """Means of the pooled metrics in each slice, and its `count` of queries."""
    pooled = measured.pooled
    return {part.name: mean_metrics(pooled.loc[part.query_ids]) for part in slices}


def comparison(
    candidate: MeasuredRung,
    reference: MeasuredRung,
    *,
    slices: Sequence[Slice],
    config: GateConfig,
) -> dict[str, Any]:
    """The paired comparison of two rungs, pooled over seeds, and the gain of each seed alone.

    Returns:
        `reference`, `overall` and `slices` as `mmr.evaluation.comparison` has them, and
        `gain_by_seed`: metric to one mean gain a seed, in the order of the seeds.
    """
    compared = compare_systems(_system(candidate), _system(reference), slices=slices, config=config)
    return {**compared.as_json(), "gain_by_seed": gains_by_seed(candidate, reference)}


def gains_by_seed(candidate: MeasuredRung, reference: MeasuredRung) -> dict[str, list[float]]:
    """Mean gain of each seed alone, by metric."""
    return {
        metric: [
            float(frame[metric].mean() - reference.per_seed[seed][metric].mean())
            for seed, frame in candidate.per_seed.items()
        ]
        for metric in METRICS
    }


def _system(measured: MeasuredRung) -> SystemScores:
    no_ranking = np.empty((0, 0), dtype=np.int64)  # seeds have a ranking each; none is needed here
    return SystemScores(measured.rung.name, no_ranking, measured.pooled)
