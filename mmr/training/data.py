"""What training reads, as arrays; and batches that depend on seed and step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from mmr.config.training import QueryBatchSettings
from mmr.types import BoolArray, Int64Array, Photographs


@dataclass(frozen=True)
class Catalogue:
    """All products, row by row.

    Attributes:
        texts: `(products,)`, product texts; empty where there is none.
        has_text, has_image: `(products,)`.
        pixels: Read by row, `(rows, height, width, 3)`; None for text-only training.
        pixels_key: Identity of the photographs at this size.
        text_groups: `(products,)`, equal where two products have the same text.
    """

    texts: list[str]
    has_text: BoolArray
    has_image: BoolArray
    pixels: Photographs | None
    pixels_key: str
    text_groups: Int64Array

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class JudgedQueries:
    """Queries of one split and their judgements.

    Attributes:
        queries: Query texts.
        grades: `(queries, products)` sparse, int; 0 is not judged.
    """

    queries: list[str]
    grades: csr_array

    def __len__(self) -> int:
        return len(self.queries)

    def grade_block(self, queries: Int64Array, products: Int64Array) -> Tensor:
        """Dense grades of some queries and products, `(queries, products)` int64."""
        return torch.from_numpy(
            self.grades[queries].toarray()[:, products].astype(np.int64, copy=False)
        )


@dataclass(frozen=True)
class QueryBatch:
    """Some queries, the products drawn for them, and how they are judged.

    Attributes:
        queries: `(queries,)` rows of the query list.
        products: `(products,)` rows of the catalogue, each once.
        grades: `(queries, products)` int64.
    """

    queries: Int64Array
    products: Int64Array
    grades: Tensor


class QueryBatches:
    """Draws batches of queries with judged and random products.

    Batch `step` depends on seed and step alone: a resumed run sees what it would have seen.

    Args:
        judged: Training queries; each has at least one judged product.
        products: Number of products in the catalogue.
        settings: Sizes.
        seed: Of the whole run.
    """

    def __init__(
        self, judged: JudgedQueries, *, products: int, settings: QueryBatchSettings, seed: int
    ) -> None:
        self._judged, self._products, self._settings = judged, products, settings
        self._seed = seed

    def __call__(self, step: int) -> QueryBatch:
        settings = self._settings
        random = np.random.default_rng([self._seed, 1, step])
        queries = _epoch_slice(len(self._judged), settings.queries, step=step, seed=self._seed)
        drawn = [self._positives(query, random) for query in queries]
        negatives = random.integers(0, self._products, settings.negatives)
        products = np.unique(np.concatenate([*drawn, negatives]))
        grades = self._judged.grade_block(queries, products)
        return QueryBatch(queries, products, grades)

    def _positives(self, query: int, random: np.random.Generator) -> Int64Array:
        grades = self._judged.grades
        span = slice(grades.indptr[query], grades.indptr[query + 1])
        products, weights = grades.indices[span], grades.data[span].astype(np.float64)
        count = min(self._settings.positives, len(products))
        share = weights**2 / (weights**2).sum()  # better grades are drawn more often
        return random.choice(products, size=count, replace=False, p=share).astype(np.int64)


def product_batch(products: Int64Array, *, size: int, step: int, seed: int) -> Int64Array:
    """Rows of one batch out of `products`, each once an epoch, by seed and step alone."""
    return products[_epoch_slice(len(products), size, step=step, seed=seed)]


def _epoch_slice(rows: int, size: int, *, step: int, seed: int) -> Int64Array:
    size = min(size, rows)
    per_epoch = rows // size
    epoch, position = divmod(step, per_epoch)
    order = np.random.default_rng([seed, 0, epoch]).permutation(rows)
    return order[position * size : (position + 1) * size].astype(np.int64)
