"""When live queries and answers count as changed, slow or wrong."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from mmr.config.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class Watched(StrEnum):
    """What is measured and may have limits."""

    EMBEDDING_DRIFT = "embedding_drift"
    LENGTH_DRIFT = "length_drift"
    NEW_WORDS = "new_words"
    LOW_SCORES = "low_scores"
    ZERO_RESULTS = "zero_results"
    ERRORS = "errors"
    UNSEEN_PRODUCTS = "unseen_products"
    P50_MS = "p50_ms"
    P95_MS = "p95_ms"
    P99_MS = "p99_ms"


class Limits(Settings):
    """Above `warn` somebody should look, above `breach` somebody should act."""

    warn: NonNegativeFloat | None = None
    breach: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.warn is not None and self.breach is not None and self.warn > self.breach:
            raise ValueError(f"warn ({self.warn:g}) must not be above breach ({self.breach:g})")
        return self


class MonitorConfig(Settings):
    """What `mmr monitor` demands. Shares lie in [0, 1]; an absent limit is never exceeded."""

    min_queries: PositiveInt = Field(
        200, description="Distinct queries below which nothing is said about drift."
    )
    min_records: PositiveInt = Field(
        200, description="Answered queries below which nothing is said about shares and times."
    )
    confidence: float = Field(
        0.99,
        gt=0.5,
        lt=1,
        description="A limit counts as exceeded when it is so with this confidence: chance alone "
        "raises no alarm.",
    )
    embedding_drift: Limits = Field(
        Limits(warn=0.1, breach=0.25),
        description="Population stability index (PSI) of the distinct queries against the "
        "training queries, on the principal axis where it is largest.",
    )
    length_drift: Limits = Field(
        Limits(warn=0.1, breach=0.25), description="PSI of the number of words of a query."
    )
    new_words: Limits = Field(
        Limits(warn=0.05, breach=0.15),
        description="Share of words that no training query had, above the share to be expected.",
    )
    low_scores: Limits = Field(
        Limits(warn=0.15, breach=0.3),
        description="Share of answers whose best cosine is below that of 95 % of the release's "
        "own held-out queries; 0.05 is normal.",
    )
    zero_results: Limits = Field(
        Limits(warn=0.01, breach=0.05), description="Share of answers without a product."
    )
    errors: Limits = Field(
        Limits(warn=0.002, breach=0.02), description="Share of queries that the model failed."
    )
    unseen_products: Limits = Field(
        Limits(), description="Share of the catalogue that was on no first page."
    )
    p50_ms: Limits = Field(Limits(), description="Median milliseconds in the model.")
    p95_ms: Limits = Field(Limits(warn=100, breach=250), description="95th percentile of these.")
    p99_ms: Limits = Field(Limits(), description="99th percentile of these.")
    retrain_on: tuple[Watched, ...] = Field(
        (
            Watched.EMBEDDING_DRIFT,
            Watched.LENGTH_DRIFT,
            Watched.NEW_WORDS,
            Watched.LOW_SCORES,
        ),
        description="Breaches that `--retrain` answers with a training; others need a person.",
    )
    retrain_pause_days: float = Field(
        7.0,
        gt=0,
        description="Days after a training in which no breach of the same release starts another.",
    )

    def limits(self, watched: Watched) -> Limits:
        """The limits of one measure."""
        found: Limits = getattr(self, watched.value)
        return found
