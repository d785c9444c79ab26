"""Settings of the generated catalogue, and the `showroom:key=value,...` form of them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationError, model_validator

from mmr.config.base import Settings
from mmr.errors import ConfigError

_PREFIX = "showroom"


class ShowroomConfig(Settings):
    """What the generated home-decor catalogue holds and how badly its sellers write.

    Same settings, same dataset: the content hash is equal on one machine.
    """

    products: int = Field(3000, ge=1, le=99_999_999, description="Products in the catalogue.")
    queries: int = Field(
        400, ge=0, le=1_000_000, description="Queries wanted; a small catalogue may yield fewer."
    )
    seed: int = Field(0, ge=0, description="Seed of everything random.")
    px: int = Field(96, ge=32, le=512, description="Side of the square photographs, pixels.")
    jpeg_quality: int = Field(88, ge=30, le=95, description="JPEG quality of the photographs.")

    colour_withheld: float = Field(
        0.55, ge=0, le=1, description="Share of products whose text names no colour."
    )
    pattern_withheld: float = Field(
        0.5, ge=0, le=1, description="Share of patterned products whose text does not say so."
    )
    material_withheld: float = Field(
        0.4, ge=0, le=1, description="Share of products whose text names no material."
    )
    shape_withheld: float = Field(
        0.5, ge=0, le=1, description="Share of products whose text names no shape."
    )
    size_withheld: float = Field(
        0.3, ge=0, le=1, description="Share of products whose text names no size."
    )
    brand_withheld: float = Field(
        0.15, ge=0, le=1, description="Share of products whose text names neither brand nor series."
    )
    type_withheld: float = Field(
        0.1, ge=0, le=1, description="Share of products whose title does not say what it is."
    )
    colour_wrong: float = Field(
        0.06, ge=0, le=1, description="Share of the stated colours that are wrong."
    )
    title_short: float = Field(
        0.25, ge=0, le=1, description="Share of titles cut to two or three words."
    )
    translated: float = Field(
        0.12, ge=0, le=1, description="Share of products whose text reads machine-translated."
    )
    typo: float = Field(0.08, ge=0, le=1, description="Share of titles with one misspelt word.")
    title_uninformative: float = Field(
        0.01, ge=0, le=1, description="Share of products with a title that says nothing."
    )
    description_missing: float = Field(
        0.1, ge=0, le=1, description="Share of products with an empty description."
    )
    image_missing: float = Field(
        0.04, ge=0, le=1, description="Share of products without a photograph."
    )

    textual_queries: float = Field(
        0.25, ge=0, le=1, description="Share of queries for what only text tells (brand, size)."
    )
    mixed_queries: float = Field(
        0.25, ge=0, le=1, description="Share of queries for both; the rest ask for looks alone."
    )
    validation_share: float = Field(0.2, ge=0, le=1, description="Share of query intents.")
    test_share: float = Field(0.2, ge=0, le=1, description="Share of query intents.")
    cold_start_share: float = Field(
        0.1, ge=0, le=0.9, description="Share of product groups kept out of the train judgements."
    )
    relevant_max: int = Field(
        60, ge=1, le=1000, description="Most grade-2 products a query may have."
    )
    judgements_max: int = Field(200, ge=1, le=2000, description="Most judgements of one query.")

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        for first, second in (
            ("textual_queries", "mixed_queries"),
            ("validation_share", "test_share"),
            ("title_short", "description_missing"),
            ("brand_withheld", "type_withheld"),
        ):
            total = getattr(self, first) + getattr(self, second)
            if total > 1:
                raise ValueError(f"{first} and {second} add up to {total:g}; at most 1 is possible")
        if self.relevant_max > self.judgements_max:
            raise ValueError(
                f"relevant_max ({self.relevant_max}) must not exceed "
                f"judgements_max ({self.judgements_max})"
            )
        return self


def showroom_config(**values: object) -> ShowroomConfig:
    """Checks settings of the generated catalogue.

    Raises:
        ConfigError: A key is unknown or a value is impossible; the message names it.
    """
    unknown = sorted(set(values) - set(ShowroomConfig.model_fields))
    if unknown:
        raise ConfigError(
            f"Unknown showroom setting {', '.join(unknown)}. "
            f"Known are: {', '.join(ShowroomConfig.model_fields)}."
        )
    try:
        return ShowroomConfig.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}={item['input']!r}: {item['msg']}"
            if item["loc"]
            else item["msg"]
            for item in error.errors()
        )
        raise ConfigError(f"The showroom settings are not usable: {reasons}.") from error


def is_showroom_source(source: str) -> bool:
    """Whether an import source names the generated catalogue rather than a path."""
    return source == _PREFIX or source.startswith(f"{_PREFIX}:")


def parse_showroom_source(source: str) -> ShowroomConfig:
    """Reads `showroom:products=3000,queries=400,seed=7`; `showroom` alone means the defaults.

    Raises:
        ConfigError: The text has another form, an unknown or repeated key, or a bad value.
    """
    if not is_showroom_source(source):
        raise ConfigError(
            f"{source!r} is not a showroom source. Write it as showroom:products=3000,seed=7."
        )
    values: dict[str, object] = {}
    for part in filter(None, source[len(_PREFIX) + 1 :].split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise ConfigError(f"{part!r} in {source!r} is not of the form key=value.")
        if key in values:
            raise ConfigError(f"{key} stands twice in {source!r}. Keep one of them.")
        values[key] = value
    return showroom_config(**values)
