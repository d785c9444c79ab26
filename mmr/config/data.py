"""Settings of import, preparation and validation of a shop's data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from mmr.config.base import Settings

FeedField = Literal[
    "product_id",
    "title",
    "description",
    "image",
    "cold_start",
    "query_id",
    "query",
    "kind",
    "split",
    "grade",
    "weight",
]
Severity = Literal["error", "warning"]


class ImportConfig(Settings):
    """How `mmr import` reads a feed."""

    columns: dict[FeedField, str] = Field(
        default={}, description="Field of the dataset contract to the feed's own column name."
    )
    queries: Path | None = Field(None, description="Query file; default: queries.* in the feed.")
    judgements: Path | None = Field(
        None, description="Judgement file; default: judgements.* in the feed."
    )
    images: Path | None = Field(
        None, description="Directory that relative image paths start from; default: the feed's."
    )
    max_rejects: float = Field(
        0.01, ge=0, le=1, description="Share of the rows of one table that may be rejected."
    )
    max_grade: int = Field(10, ge=1, le=30, description="Highest relevance grade accepted.")
    max_image_megapixels: float = Field(
        50.0, gt=0, le=89, description="Largest image accepted, in millions of pixels decoded."
    )
    max_image_mebibytes: float = Field(
        32.0, gt=0, description="Largest image file accepted, in MiB as stored."
    )
    name: str | None = Field(None, description="Name for people; default: the feed's file name.")


class PrepareConfig(Settings):
    """How `mmr prepare` splits queries and normalises images."""

    image_px: int = Field(224, ge=16, le=2048, description="Longest image side kept, in pixels.")
    jpeg_quality: int = Field(
        90, ge=50, le=100, description="JPEG quality of images that have to be re-encoded."
    )
    train_share: float = Field(0.8, ge=0, le=1, description="Share of normalised queries.")
    validation_share: float = Field(0.2, ge=0, le=1, description="Share of normalised queries.")
    test_share: float = Field(0.0, ge=0, le=1, description="Share of normalised queries.")
    cold_start_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of title groups kept out of the train judgements. Used, like the other "
        "shares, only where the feed gives no split.",
    )
    seed: int = Field(7, description="Decides which queries and groups fall where.")

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        total = self.train_share + self.validation_share + self.test_share
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                f"train_share ({self.train_share}), validation_share ({self.validation_share}) and "
                f"test_share ({self.test_share}) must add up to 1, not {total:g}"
            )
        return self


class ValidationConfig(Settings):
    """Bounds and severities of the expectations that `mmr validate` checks."""

    min_title_chars: int = Field(2, ge=0, description="Characters; empty titles are not counted.")
    max_title_chars: int = Field(300, ge=1, description="Characters.")
    max_text_chars: int = Field(10_000, ge=1, description="Characters of title and description.")
    max_share_without_text: float = Field(0.2, ge=0, le=1, description="Share of products.")
    max_share_without_image: float = Field(0.5, ge=0, le=1, description="Share of products.")
    min_image_px: int = Field(32, ge=1, description="Shortest image side, in pixels.")
    max_image_px: int = Field(4096, ge=1, description="Longest image side, in pixels.")
    max_query_chars: int = Field(200, ge=1, description="Characters.")
    min_grade: int = Field(0, ge=0, description="Lowest relevance grade.")
    max_grade: int = Field(10, ge=1, description="Highest relevance grade.")
    min_row_ratio: float = Field(
        0.5, ge=0, description="Rows of a table divided by the rows of the previous dataset."
    )
    max_row_ratio: float = Field(
        2.0, gt=0, description="Rows of a table divided by the rows of the previous dataset."
    )
    max_null_share_increase: float = Field(
        0.1, ge=0, le=1, description="Rise of a column's share of empty values; 0.1 is 10 points."
    )
    max_text_length_change: float = Field(
        0.5, ge=0, description="Relative change of the mean text length; 0.5 is half as much again."
    )
    max_image_coverage_drop: float = Field(
        0.05, ge=0, le=1, description="Fall of the share of products with an image; 0.05: 5 points."
    )
    severity: dict[str, Severity] = Field(
        default={}, description="Expectation name to severity, where the default does not fit."
    )
