"""A candidate against a reference: overall in every metric, and slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmr.config.gate import GateConfig, Metric
from mmr.evaluation.metrics import METRICS
from mmr.evaluation.significance import (
    Float64Array,
    MarginTest,
    PairedComparison,
    compare_paired,
    harm_p_value,
    holm,
    proof_p_value,
)
from mmr.evaluation.slices import Slice
from mmr.evaluation.systems import SystemScores


@dataclass(frozen=True)
class SliceComparison:
    """One slice in the primary metric.

    Attributes:
        name: The slice.
        comparison: Candidate against reference on its queries.
        margin: Mean loss that the policy tolerates here.
        decides: Whether the slice has enough queries to decide anything.
        harm_p: Holm-adjusted p-value of "loses no more than the margin": small means harm is shown.
            None if the slice decides nothing.
        proof_p: Holm-adjusted p-value of "loses the margin or more": small means that
            non-inferiority is proven. None if the slice decides nothing.
    """

    name: str
    comparison: PairedComparison
    margin: float
    decides: bool
    harm_p: float | None
    proof_p: float | None


@dataclass(frozen=True)
class SystemComparison:
    """A candidate against one reference system.

    Attributes:
        reference: The reference's name.
        overall: One comparison per metric.
        slices: One comparison per slice, in the primary metric.
    """

    reference: str
    overall: dict[Metric, PairedComparison]
    slices: list[SliceComparison]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; `slices` by name."""
        return {
            "reference": self.reference,
            "overall": {name: asdict(value) for name, value in self.overall.items()},
            "slices": {
                part.name: {
                    **asdict(part.comparison),
                    "margin": part.margin,
                    "decides": part.decides,
                    "harm_p": part.harm_p,
                    "proof_p": part.proof_p,
                }
                for part in self.slices
            },
        }


def compare_systems(
    candidate: SystemScores,
    reference: SystemScores,
    *,
    slices: Sequence[Slice],
    config: GateConfig,
) -> SystemComparison:
    """Compares two systems that answered the same task."""
    overall = {name: _paired(candidate, reference, name, config=config) for name in METRICS}
    return SystemComparison(
        reference=reference.name,
        overall=overall,
        slices=_compare_slices(candidate, reference, slices=slices, config=config),
    )


def _compare_slices(
    candidate: SystemScores,
    reference: SystemScores,
    *,
    slices: Sequence[Slice],
    config: GateConfig,
) -> list[SliceComparison]:
    deciding = [part for part in slices if len(part.query_ids) >= config.min_slice_queries]
    harm = _adjusted(deciding, candidate, reference, test=harm_p_value, config=config)
    proof = _adjusted(deciding, candidate, reference, test=proof_p_value, config=config)
    return [
        SliceComparison(
            name=part.name,
            comparison=_paired(
                candidate, reference, config.primary_metric, config=config, ids=part.query_ids
            ),
            margin=_margin(part, config),
            decides=part.name in harm,
            harm_p=harm.get(part.name),
            proof_p=proof.get(part.name),
        )
        for part in slices
    ]


def _adjusted(
    slices: Sequence[Slice],
    candidate: SystemScores,
    reference: SystemScores,
    *,
    test: MarginTest,
    config: GateConfig,
) -> dict[str, float]:
    """Holm-adjusted p-values of one test on every slice, by the slice's name."""
    raw = [
        test(
            _values(candidate, config.primary_metric, part.query_ids),
            _values(reference, config.primary_metric, part.query_ids),
            margin=_margin(part, config),
            resamples=config.resamples,
            seed=config.seed,
        )
        for part in slices
    ]
    return dict(zip((part.name for part in slices), holm(raw), strict=True))


def _margin(part: Slice, config: GateConfig) -> float:
    return config.slice_margins.get(part.name, config.slice_margin)


def _paired(
    candidate: SystemScores,
    reference: SystemScores,
    metric: Metric,
    *,
    config: GateConfig,
    ids: Sequence[str] | None = None,
) -> PairedComparison:
    return compare_paired(
        _values(candidate, metric, ids),
        _values(reference, metric, ids),
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.seed,
    )


def _values(system: SystemScores, metric: Metric, ids: Sequence[str] | None) -> Float64Array:
    column: pd.Series = system.per_query[metric]
    chosen = column if ids is None else column.loc[list(ids)]
    return chosen.to_numpy(dtype=np.float64)
