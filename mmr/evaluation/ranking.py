"""Exact search over the whole catalogue: what every metric of this project is measured on."""

from __future__ import annotations

import numpy as np

from mmr.errors import ArtifactError
from mmr.types import Float32Array, Int64Array

_QUERY_BLOCK = 256
_BLOCK_BYTES = 16 << 20  # of scores at a time; selection needs about two more such blocks


def exact_search(
    queries: Float32Array, products: Float32Array, k: int, *, block_bytes: int = _BLOCK_BYTES
) -> tuple[Int64Array, Float32Array]:
    """Finds the `k` products of the highest inner product with each query, none left out.

    Equal scores are ordered by row, so the answer is the same whatever the block size. Memory is
    bounded by `block_bytes`, and `products` may be a memory map.

    Args:
        queries: `(queries, dim)`.
        products: `(products, dim)`.
        k: Products per query; all of them when the catalogue is smaller.
        block_bytes: Bytes of scores held at a time.

    Returns:
        Product rows `(queries, k)`, best first, and their scores `(queries, k)`.

    Raises:
        ArtifactError: The dimensions differ, or a score is not a finite number.
    """
    if queries.shape[1] != products.shape[1]:
        raise ArtifactError(
            f"Queries have {queries.shape[1]} dimensions, products {products.shape[1]}. "
            "Embed both with the same model."
        )
    k = min(k, len(products))
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    product_block = max(k, 1, block_bytes // (4 * _QUERY_BLOCK))
    for start in range(0, len(queries), _QUERY_BLOCK):
        block = slice(start, start + _QUERY_BLOCK)
        rows[block], scores[block] = _search_block(
            np.asarray(queries[block], dtype=np.float32), products, k, product_block=product_block
        )
    return rows, scores


def _search_block(
    queries: Float32Array, products: Float32Array, k: int, *, product_block: int
) -> tuple[Int64Array, Float32Array]:
    rows = np.empty((len(queries), 0), dtype=np.int64)  # ascending within each query
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(products), product_block):
        vectors = np.asarray(products[start : start + product_block], dtype=np.float32)
        block_scores = queries @ vectors.T
        if not np.isfinite(block_scores).all():
            raise ArtifactError(
                f"A score of products {start} to {start + len(vectors) - 1} is not a finite number:"
                " the vectors hold NaN or infinity. Embed again; if it stays, train again."
            )
        columns = _best_columns(block_scores, k)
        rows = np.concatenate([rows, columns + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block_scores, columns, 1)], axis=1)
        kept = _best_columns(scores, k)
        rows = np.take_along_axis(rows, kept, 1)
        scores = np.take_along_axis(scores, kept, 1)
    order = np.argsort(-scores, axis=1, kind="stable")  # stable: equal scores stay in row order
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _best_columns(scores: Float32Array, k: int) -> Int64Array:
    """Columns of the `k` highest scores per row, ascending; of equal scores the first columns."""
    height, width = scores.shape
    if width <= k:
        return np.broadcast_to(np.arange(width, dtype=np.int64), (height, width))
    threshold = np.partition(scores, width - k, axis=1)[:, width - k, None]  # k-th highest
    keep = scores >= threshold
    for row in np.flatnonzero(keep.sum(axis=1) > k):  # ties reach across the cut
        tied = np.flatnonzero(scores[row] == threshold[row])
        surplus = int(keep[row].sum()) - k
        keep[row, tied[len(tied) - surplus :]] = False
    return np.nonzero(keep)[1].reshape(height, k).astype(np.int64, copy=False)
