"""Training techniques of the stages that learn from queries; all are off unless set.

`docs/training.md` has a table of them: setting, default, source, and where each is tested.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt

from mmr.config.base import Settings


class MaskingSettings(Settings):
    """Which products nobody judged for a query are no negatives of it either."""

    same_text: bool = Field(False, description="Products with the text of a relevant one.")
    same_query: bool = Field(
        False, description="Products relevant to the same query, written with other case or signs."
    )
    guide_margin: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Products whose cosine by the guide (the model that the stage starts from) is "
        "more than this above the mean of the query's relevant ones; null is off.",
    )


class SiblingProducts(StrEnum):
    """What the products of a sibling query are to a query, where nobody judged them."""

    NEGATIVES = "negatives"
    IGNORED = "ignored"
    POSITIVES = "positives"


class KeywordSettings(Settings):
    """Keyword Enhancement: queries that share a best-graded product are siblings."""

    sibling_products: SiblingProducts = Field(
        SiblingProducts.NEGATIVES, description="`negatives` leaves them as they are drawn."
    )
    enrichment: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Weight of siblings in a query's embedding while training; 0.5 is the mean of "
        "both, 0 is off.",
    )
    drawn: PositiveInt = Field(2, description="Siblings drawn each step to enrich a query.")
    min_overlap: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Least share of both queries' products that they have in common.",
    )
    most: PositiveInt = Field(16, description="Siblings of a query, those of most overlap first.")

    @property
    def needed(self) -> bool:
        """Whether anybody asks who the siblings are."""
        return self.enrichment > 0 or self.sibling_products is not SiblingProducts.NEGATIVES


class HardNegativeSettings(Settings):
    """Products that the model of the moment takes for relevant, though nobody judged them so."""

    count: NonNegativeInt = Field(0, description="Drawn for each query of a batch; 0 is off.")
    ceiling: float = Field(
        0.95, gt=0, description="Kept below this share of the query's mean positive score."
    )
    depth: PositiveInt = Field(100, description="Best-scored products below it that are kept.")
    every: PositiveInt = Field(250, ge=10, description="Steps between minings.")
    pool: PositiveInt = Field(
        20_000, description="Products scored in one mining at most, drawn anew each time."
    )


class QueryTextSettings(Settings):
    """Words of training queries are dropped or change places; colour words always stay."""

    wordings: NonNegativeInt = Field(
        0, description="Other wordings made of each query, once and encoded once; 0 is off."
    )
    share: float = Field(
        0.5, ge=0, le=1, description="Share of a batch's queries in another wording."
    )
    drop: float = Field(0.2, ge=0, le=1, description="Chance of a word to be dropped.")
    swap: float = Field(0.2, ge=0, le=1, description="Chance of a word to follow its successor.")
    kept_words: tuple[str, ...] = Field(
        (), description="Further words that are never dropped, such as colours in another language."
    )


class DistillationSettings(Settings):
    """A stronger scorer's opinion of the products of a batch."""

    teacher: str | None = Field(
        None,
        description="A model directory, or a Parquet file of query_id, product_id, score; null is "
        "off.",
    )
    weight: float = Field(1.0, gt=0, description="Of the divergence beside the plain loss.")
    scale: float = Field(20.0, gt=0, description="Multiplies the teacher's scores: 1/temperature.")
    products: NonNegativeInt = Field(
        8, description="Products of the Parquet file drawn for each query of a batch."
    )


class TechniqueSettings(Settings):
    """What a stage that learns from queries does beside its plain loss."""

    masking: MaskingSettings = MaskingSettings()
    keyword_enhancement: KeywordSettings = KeywordSettings()
    hard_negatives: HardNegativeSettings = HardNegativeSettings()
    query_text: QueryTextSettings = QueryTextSettings()
    distillation: DistillationSettings = DistillationSettings()


class TextAnswerSettings(Settings):
    """Titles asked as queries, so that a fused product answers them as its text alone does.

    Colours, which photographs tell best, and some other words are left out of them: brand, type and
    size remain, which the text knows better.
    """

    weight: float = Field(
        0.0, ge=0, description="Of the divergence from the text's scores; 0 is off."
    )
    titles: PositiveInt = Field(8_000, description="Asked titles, of products with an image.")
    drop: float = Field(0.3, ge=0, le=1, description="Chance of a further word to be left out.")
    shown_words: tuple[str, ...] = Field(
        (),
        description="Further words that a photograph answers and no title is asked with, such as "
        "colours in another language.",
    )
    depth: PositiveInt = Field(10, description="Products of a title, nearest by their text.")
    drawn: PositiveInt = Field(5, description="Of these, drawn in a step for each title.")
    batch: PositiveInt = Field(128, description="Titles asked in a step.")
