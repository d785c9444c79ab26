"""What text and image are worth to a candidate: over the catalogue, per slice, and per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmr.evaluation.metrics import relevant_judgements
from mmr.evaluation.slices import Slice
from mmr.types import BoolArray, Float32Array

WEIGHTS = ("text", "image", "joint")
ALL_PRODUCTS = "all products"
_BINS = 20


@dataclass(frozen=True)
class CatalogueModalities:
    """What text and image are worth in each product's vector of one model.

    Attributes:
        weights: `(products, 3)`, shares of text, image and their joint expert; NaN where a product
            has neither. None where the fusion has no such shares.
        without_text: `(products,)`, cosine between a product's vector and the one made without its
            text; NaN where it lacks text or image.
        without_image: `(products,)`, the same without its image.
        both: `(products,)`, whether the product has text and image.
    """

    weights: Float32Array | None
    without_text: Float32Array
    without_image: Float32Array
    both: BoolArray


@dataclass(frozen=True)
class ModalityRow:
    """Means over the products with text and image of a slice, or of the catalogue.

    Attributes:
        name: `all products`, or the slice's name.
        products: How many they are.
        text, image, joint: Mean weights; None where the fusion has none.
        low, high: 10th and 90th percentile of the image's weight.
        without_text, without_image: Mean cosine to the vector made without it.
    """

    name: str
    products: int
    text: float | None
    image: float | None
    joint: float | None
    low: float | None
    high: float | None
    without_text: float
    without_image: float


@dataclass(frozen=True)
class ModalityScores:
    """A product's score for a query by its text alone, its image alone, and by both.

    A modality that the product lacks has no score.
    """

    text: float | None
    image: float | None
    fused: float


ExampleScores = Mapping[tuple[str, str], ModalityScores]  # by query id and product id


@dataclass(frozen=True)
class ModalitySummary:
    """What a report shows of text and image.

    Attributes:
        rows: The catalogue, then the slices that have a product with both.
        histogram: Share of these products by image weight, `_BINS` equal bins from 0 to 1; empty
            where the fusion has no weights.
        fusion: Kind of the candidate's fusion.
        kept_start: Whether no step of its training answered better than its start, equal shares.
    """

    rows: list[ModalityRow]
    histogram: list[float]
    fusion: str
    kept_start: bool

    def as_json(self) -> dict[str, Any]:
        """For `gate.json`."""
        return {
            "fusion": self.fusion,
            "kept_start": self.kept_start,
            "means": {
                row.name: {name: value for name, value in vars(row).items() if name != "name"}
                for row in self.rows
            },
        }


@dataclass(frozen=True)
class ModalityReport:
    """What a report says of text and image.

    Attributes:
        summary: None where the candidate reads one modality, or no product has both.
        scores: The candidate's scores of the shown products.
    """

    summary: ModalitySummary | None
    scores: ExampleScores


def summarise_modalities(
    found: CatalogueModalities,
    *,
    fusion: str,
    kept_start: bool,
    product_ids: Sequence[str],
    judgements: pd.DataFrame,
    slices: Sequence[Slice],
) -> ModalitySummary | None:
    """Averages over the catalogue, and over the best-grade products of each slice's queries.

    Args:
        found: Of the candidate.
        fusion: Its kind.
        kept_start: Whether no step of its training was better than its start.
        product_ids: The catalogue, by row.
        judgements: Columns `query_id`, `product_id`, `grade`.
        slices: Sets of queries.

    Returns:
        None where no product has both text and image: there is nothing to weigh.
    """
    rows = np.flatnonzero(found.both)
    if not len(rows):
        return None
    relevant = relevant_judgements(judgements)
    places = pd.Series(np.arange(len(product_ids)), index=list(product_ids))
    averaged = [_row(ALL_PRODUCTS, found, rows)]
    for part in slices:
        asked = relevant["query_id"].isin(set(part.query_ids))
        wanted = places.reindex(relevant.loc[asked, "product_id"].unique()).dropna()
        members = wanted.to_numpy(dtype=np.int64)
        members = members[found.both[members]]
        if len(members):
            averaged.append(_row(part.name, found, members))
    histogram: list[float] = []
    if found.weights is not None:
        counts, _ = np.histogram(found.weights[rows, 1], bins=_BINS, range=(0, 1))
        histogram = (counts / len(rows)).tolist()
    return ModalitySummary(rows=averaged, histogram=histogram, fusion=fusion, kept_start=kept_start)


def _row(name: str, found: CatalogueModalities, rows: np.ndarray[Any, Any]) -> ModalityRow:
    weights: dict[str, float | None] = dict.fromkeys((*WEIGHTS, "low", "high"))
    if found.weights is not None:
        shares = found.weights[rows]
        low, high = np.quantile(shares[:, 1], [0.1, 0.9])
        weights = {
            **dict(zip(WEIGHTS, shares.mean(axis=0).tolist(), strict=True)),
            "low": float(low),
            "high": float(high),
        }
    return ModalityRow(
        name=name,
        products=len(rows),
        without_text=float(found.without_text[rows].mean()),
        without_image=float(found.without_image[rows].mean()),
        **weights,
    )
