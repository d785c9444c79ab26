"""How the index is built and how exact it must be."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from mmr.config.base import Settings


class IndexKind(StrEnum):
    """The kinds of index; `AUTO` chooses by the size of the catalogue."""

    AUTO = "auto"
    FLAT = "flat"
    HNSW = "hnsw"
    IVF = "ivf"


class IndexConfig(Settings):
    """Settings of `build_index`.

    The limits between the kinds come from measurements on 384-d vectors and one thread: flat
    answers 20,000 products in 1.1 ms and 43,000 in 2.4 ms; HNSW answers 43,000 in 0.2 to 0.5 ms,
    yet a million would take it many minutes to build, where IVF takes half a minute. Links and
    build effort: `benchmarks/index_build.py`.
    """

    kind: IndexKind = Field(IndexKind.AUTO, description="Chosen by catalogue size when `auto`.")
    flat_max_products: PositiveInt = Field(
        20_000, description="Largest catalogue that `auto` searches exactly (flat)."
    )
    hnsw_max_products: PositiveInt = Field(
        1_000_000, description="Largest catalogue that `auto` gives an HNSW graph; IVF above."
    )
    min_recall: float = Field(
        0.97, gt=0, le=1, description="Recall@100 against exact search that the index must reach."
    )
    recall_queries: PositiveInt = Field(1000, description="Most queries recall is measured on.")
    hnsw_neighbours: int = Field(24, ge=4, le=128, description="Links per product in the graph.")
    hnsw_build_effort: int = Field(64, ge=8, description="Candidates looked at per insertion.")
    max_search_effort: PositiveInt = Field(
        4096,
        description="Most candidates (HNSW efSearch) or lists (IVF nprobe) a query may visit.",
    )
    build_threads: PositiveInt = Field(
        1, description="1 builds the same bytes each time; more is faster, recall stays alike."
    )
    seed: int = Field(0, ge=0, description="Of the sampled queries and the IVF clustering.")

    @model_validator(mode="after")
    def _check_limits_ascend(self) -> Self:
        if self.flat_max_products > self.hnsw_max_products:
            raise ValueError(
                f"flat_max_products ({self.flat_max_products}) must not exceed "
                f"hnsw_max_products ({self.hnsw_max_products})"
            )
        return self

    def kind_for(self, products: int) -> IndexKind:
        """The kind that a catalogue of this many products gets."""
        if self.kind is not IndexKind.AUTO:
            return self.kind
        if products <= self.flat_max_products:
            return IndexKind.FLAT
        return IndexKind.HNSW if products <= self.hnsw_max_products else IndexKind.IVF
