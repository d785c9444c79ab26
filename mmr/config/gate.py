"""What a candidate must show before it may replace what is in production."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from mmr.config.base import Settings

Metric = Literal["recall_at_10", "recall_at_100", "ndcg_at_10", "mrr_at_10"]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MAX_PARITY_DISTANCE = 1e-4  # no release exists beyond it, whatever a policy says


class GateConfig(Settings):
    """The gate's policy. All metrics lie in [0, 1]; gains are absolute differences of means."""

    primary_metric: Metric = Field("ndcg_at_10", description="Metric that decides.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Level of the interval around the mean gain."
    )
    max_p: float = Field(
        0.05, gt=0, lt=1, description="A paired permutation test below this p-value is significant."
    )
    min_effect: Share = Field(
        0.0, description="Smallest mean gain worth a release, in points of the primary metric."
    )
    further_effects: dict[Metric, Share] = Field(
        default_factory=dict,
        description="Further metrics that must gain significantly too, each with its smallest "
        "mean gain.",
    )
    floors: dict[Metric, Share] = Field(
        default_factory=dict, description="Lowest value allowed of the candidate, per metric."
    )
    slice_margin: Share = Field(
        0.02, description="Mean loss tolerated in a slice, in points of the primary metric."
    )
    slice_margins: dict[str, Share] = Field(
        default_factory=dict,
        description="Other margins for single slices, by the name that the report gives them.",
    )
    prove_slices: bool = Field(
        False,
        description="Whether each slice must be proven to lose less than its margin; otherwise it "
        "is enough that no loss beyond it is shown.",
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
    regression_margin: Share = Field(
        0.5,
        description="A query that loses more than this has regressed, in points of the primary "
        "metric.",
    )
    max_regressions: NonNegativeInt | None = Field(
        None, description="Most queries that may regress; without a number they are only listed."
    )
    worst_queries: NonNegativeInt = Field(
        10, le=1000, description="Queries with the largest losses that are listed."
    )
    min_index_recall: Share = Field(
        0.97,
        description="Recall@100 of the index against exact search, on the validation queries.",
    )
    max_parity_distance: float = Field(
        MAX_PARITY_DISTANCE,
        gt=0,
        le=MAX_PARITY_DISTANCE,
        description="Largest cosine distance between exported and trained query encoder.",
    )
    max_latency_p50_ms: Amount | None = Field(
        None,
        description="Budget for the median time of encoding one query on the machine at hand, in "
        "milliseconds; without a number it is only measured.",
    )
    max_latency_p99_ms: Amount | None = Field(
        None, description="The same for the slowest of a hundred."
    )
    latency_queries: PositiveInt = Field(
        200, le=100_000, description="Queries that are timed, one by one."
    )
    max_data_age_days: Amount | None = Field(
        None, description="Oldest data allowed, in days; without a number the age is only told."
    )
    freshness_attribute: str = Field(
        "updated_at",
        description="Product attribute with a time, whose newest value is the age of the data; "
        "without it the newest file of the feed counts.",
    )
    resamples: PositiveInt = Field(
        9_999, description="Resamples of the bootstrap and of the permutation test."
    )
    seed: NonNegativeInt = Field(0, description="Seed of both.")
    report_examples: NonNegativeInt = Field(
        4, le=12, description="Queries shown with pictures in the report: so many wins and losses."
    )
