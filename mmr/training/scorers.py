"""Scorers whose opinion of queries and products is asked in training: guides and teachers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from mmr.training.sparse import dense_block
from mmr.training.streams import Stream, random_stream
from mmr.types import Float32Array, Int64Array


class Scorer(Protocol):
    """Scores training queries against products."""

    def scores(self, queries: Int64Array, products: Int64Array) -> Tensor:
        """`(queries, products)` float; NaN where the scorer has no opinion."""

    def draw(self, queries: Int64Array, step: int) -> Int64Array:
        """Products, as rows, that each query should be shown for the scorer's sake."""


class EmbeddingScorer:
    """The cosines of a model that does not change.

    Args:
        queries: `(queries, dim)`, unit length: all training queries.
        products: `(products, dim)`, unit length: the catalogue.
    """

    def __init__(self, queries: Float32Array, products: Float32Array) -> None:
        self._queries, self._products = queries, products

    def scores(self, queries: Int64Array, products: Int64Array) -> Tensor:
        """See `Scorer`."""
        return torch.from_numpy(self._queries[queries] @ self._products[products].T)

    def draw(self, queries: Int64Array, step: int) -> Int64Array:
        """No product in particular: the model scores them all."""
        return np.empty(0, dtype=np.int64)


class TableScorer:
    """Scores that somebody computed beforehand, for some pairs.

    Args:
        queries: `(pairs,)`, rows of the training queries, ascending.
        products: `(pairs,)`, rows of the catalogue.
        values: `(pairs,)`, scores.
        shape: Queries and products.
        drawn: Products of each query's pairs that a batch is given.
        seed: Of the whole run.
    """

    def __init__(
        self,
        queries: Int64Array,
        products: Int64Array,
        values: Float32Array,
        *,
        shape: tuple[int, int],
        drawn: int,
        seed: int,
    ) -> None:
        # places from 1, so that a score of 0 is told from none
        places = np.arange(1, len(values) + 1, dtype=np.int64)
        self._places = csr_array((places, (queries, products)), shape=shape)
        self._values = np.concatenate([np.array([np.nan], dtype=np.float32), values])
        self._drawn, self._seed = drawn, seed

    def scores(self, queries: Int64Array, products: Int64Array) -> Tensor:
        """See `Scorer`."""
        return torch.from_numpy(self._values[dense_block(self._places, queries, products)])

    def draw(self, queries: Int64Array, step: int) -> Int64Array:
        """Some scored products of each query."""
        random = random_stream(self._seed, Stream.TEACHER, step)
        pointers, products = self._places.indptr, self._places.indices
        drawn = [
            random.permutation(products[pointers[query] : pointers[query + 1]])[: self._drawn]
            for query in queries
        ]
        return np.concatenate(drawn).astype(np.int64)
