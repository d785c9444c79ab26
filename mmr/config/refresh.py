"""What a refresh of the catalogue may change without a new training."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from mmr.config.base import Settings
from mmr.config.gate import Metric


class RefreshConfig(Settings):
    """The policy of a refresh. Shares are of products; metrics lie in [0, 1]."""

    max_removed_share: float = Field(
        0.1, ge=0, le=1, description="Share of the champion's products that may be gone."
    )
    max_coverage_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Fall of the share of products with text, and of that with an image.",
    )
    max_recall_drop: float = Field(
        0.02, ge=0, le=1, description="Fall of the index's recall@100 against the champion's."
    )
    min_golden_overlap: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the champion's answers to its golden queries, products that are gone "
        "left out, that must still be among the first ten; mean over the queries.",
    )
    primary_metric: Metric = Field("ndcg_at_10", description="Metric of the judged queries.")
    metric_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Mean loss tolerated on the judged queries, in points of the primary metric: "
        "the interval around the change must lie above its negative.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of that interval.")
    min_judged_queries: PositiveInt = Field(
        20, description="Judged queries below which the metric is reported but does not decide."
    )
    resamples: PositiveInt = Field(9_999, description="Resamples of the interval.")
    seed: NonNegativeInt = Field(0, description="Seed of the resamples.")
