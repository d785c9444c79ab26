"""Under which licences a release's data and weights may be used; stated, never guessed."""

from __future__ import annotations

from pydantic import Field

from mmr.config.base import Settings


class LicenceSettings(Settings):
    """What the cards of a release say; null is printed as unknown."""

    data: str | None = Field(None, description="Of the feed: titles, descriptions, photographs.")
    queries: str | None = Field(None, description="Terms of the query log and its judgements.")
    text_backbone: str | None = Field(None, description="Of the text weights trained from.")
    vision_backbone: str | None = Field(None, description="Of the image weights trained from.")
    release: str | None = Field(None, description="Of the trained weights, given by the shop.")
    contact: str | None = Field(None, description="Who answers questions on a release.")
