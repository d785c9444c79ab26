"""What a candidate must show before it may replace what is in production."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from mmr.config.base import Settings

Metric = Literal["recall_at_10", "recall_at_100", "ndcg_at_10", "mrr_at_10"]


class GateConfig(Settings):
    """The gate's policy. All metrics lie in [0, 1]; gains are absolute differences of means."""

    primary_metric: Metric = Field("ndcg_at_10", description="Metric that decides.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Level of the interval around the mean gain."
    )
    max_p: float = Field(
        0.05, gt=0, lt=1, description="A paired permutation test below this p-value is significant."
    )
    min_effect: float = Field(
        0.0, ge=0, le=1, description="Smallest mean gain worth a release, in metric points."
    )
    floors: dict[Metric, float] = Field(
        default_factory=dict, description="Lowest value allowed of the candidate, per metric."
    )
    slice_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Mean loss tolerated in a slice, in points of the primary metric.",
    )
    min_slice_queries: PositiveInt = Field(
        20, description="Queries below which a slice is reported but does not decide."
    )
    sparse_text_share: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="Share of the catalogue, that of the shortest texts, whose text is sparse.",
    )
    resamples: PositiveInt = Field(
        9_999, description="Resamples of the bootstrap and of the permutation test."
    )
    seed: NonNegativeInt = Field(0, description="Seed of both.")
    report_examples: NonNegativeInt = Field(
        4, le=12, description="Queries shown with pictures in the report: so many wins and losses."
    )
