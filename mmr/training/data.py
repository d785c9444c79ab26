"""What training reads, as arrays; and batches that depend on seed and step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from mmr.config.training import QueryBatchSettings
from mmr.training.categories import grouped_order
from mmr.training.streams import Stream, random_stream
from mmr.types import BoolArray, Int64Array, Photographs


@dataclass(frozen=True)
class Catalogue:
    """All products, row by row.

    Attributes:
        texts: `(products,)`, product texts as the towers read them; empty where there is none.
        own_texts: `(products,)`, the same without document expansion.
        has_text, has_image: `(products,)`.
        pixels: Read by row, `(rows, height, width, 3)`; None for text-only training.
        pixels_key: Identity of the photographs at this size.
        text_groups: `(products,)`, equal where two products have the same text.
    """

    texts: list[str]
    own_texts: list[str]
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
        query_ids: The shop's ids.
        same_query: `(queries,)`, equal where two queries differ in case and spaces alone.
        grades: `(queries, products)` sparse, int; 0 is not judged.
    """

    queries: list[str]
    query_ids: list[str]
    same_query: Int64Array
    grades: csr_array

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class QueryBatch:
    """Some queries, and the products drawn for them.

    Attributes:
        queries: `(queries,)` rows of the query list.
        products: `(products,)` rows of the catalogue, each once.
        fold: Of the queries, where they are parted in folds.
    """

    queries: Int64Array
    products: Int64Array
    fold: int | None = None


class QueryBatches:
    """Draws batches of queries with judged and random products.

    Batch `step` depends on seed and step alone: a resumed run sees what it would have seen.

    Args:
        judged: Training queries; each has at least one judged product.
        products: Number of products in the catalogue.
        settings: Sizes.
        seed: Of the whole run.
        further: Each draws further products for the queries of a step.
        categories: `(queries,)`, for sub-batches of one category.
        folds: `(queries,)`, from 0: batches are of one fold, in turn; None mixes all queries.
    """

    def __init__(
        self,
        judged: JudgedQueries,
        *,
        products: int,
        settings: QueryBatchSettings,
        seed: int,
        further: Sequence[Callable[[Int64Array, int], Int64Array]] = (),
        categories: Int64Array | None = None,
        folds: Int64Array | None = None,
    ) -> None:
        self._judged, self._products, self._settings = judged, products, settings
        self._seed, self._further, self._categories = seed, further, categories
        self._pools: list[Int64Array] = [np.arange(len(judged), dtype=np.int64)]
        if folds is not None:
            self._pools = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]

    def __call__(self, step: int) -> QueryBatch:
        settings = self._settings
        random = random_stream(self._seed, Stream.BATCH, step)
        turn, fold = divmod(step, len(self._pools))
        queries = self._queries(self._pools[fold], turn)
        drawn = [self._positives(query, random) for query in queries]
        negatives = random.integers(0, self._products, settings.negatives)
        more = [draw(queries, step) for draw in self._further]
        products = np.unique(np.concatenate([*drawn, negatives, *more]))
        return QueryBatch(queries, products, fold if len(self._pools) > 1 else None)

    def _queries(self, pool: Int64Array, turn: int) -> Int64Array:
        """Those of the pool's batch number `turn`."""
        size, group = self._settings.queries, self._settings.category_queries
        if not group or self._categories is None:
            return pool[_epoch_slice(len(pool), size, step=turn, seed=self._seed)]
        epoch, place = _epoch_place(len(pool), size, step=turn)
        random = random_stream(self._seed, Stream.ORDER, epoch)
        return pool[grouped_order(self._categories[pool], size=group, random=random)[place]]

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
    epoch, place = _epoch_place(rows, size, step=step)
    return random_stream(seed, Stream.ORDER, epoch).permutation(rows)[place].astype(np.int64)


def _epoch_place(rows: int, size: int, *, step: int) -> tuple[int, slice]:
    """The epoch of a step, and where in its order the step's batch stands."""
    size = min(size, rows)
    epoch, position = divmod(step, rows // size)
    return epoch, slice(position * size, (position + 1) * size)
