"""Categories of training queries, found without anybody having named them."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from mmr.training.streams import Stream, random_stream
from mmr.types import Float32Array, Int64Array

_ROUNDS = 25


def query_categories(
    grades: csr_array, product_features: Float32Array, *, count: int, seed: int
) -> Int64Array:
    """The category of each training query, `(queries,)`, by what its judged products say.

    A shop's categories are rarely in its query log, and a query's own words mix type with colour
    and brand. So a query is placed at the mean of its judged products' text features, weighted by
    grade, and queries are clustered there (spherical k-means).

    Args:
        grades: `(queries, products)` sparse.
        product_features: `(products, hidden)`, of the text backbone.
        count: Clusters at most.
        seed: Of the whole run.
    """
    places = _unit(np.asarray(grades.astype(np.float32) @ _unit(product_features)))
    random = random_stream(seed, Stream.CATEGORIES, 0)
    centres = _spread(places, min(count, len(places)), random)
    labels = np.argmax(places @ centres.T, axis=1)
    for _ in range(_ROUNDS):
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, places)
        filled = np.bincount(labels, minlength=len(centres)) > 0
        centres[filled] = _unit(sums[filled])
        moved = np.argmax(places @ centres.T, axis=1)
        if np.array_equal(moved, labels):
            break
        labels = moved
    categories: Int64Array = labels.astype(np.int64)
    return categories


def grouped_order(categories: Int64Array, *, size: int, random: np.random.Generator) -> Int64Array:
    """A random order of all rows in which every `size` consecutive ones share a category.

    What is left over of the categories comes last, mixed. Each row stands in it once.

    Args:
        categories: `(rows,)`.
        size: Rows of a group.
        random: Decides the order of the groups, and of the rows within a category.
    """
    order = random.permutation(len(categories))
    order = order[np.argsort(categories[order], kind="stable")]
    _, first, counts = np.unique(categories[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, counts)
    whole = place < np.repeat(counts - counts % size, counts)
    groups = random.permutation(order[whole].reshape(-1, size))
    return np.concatenate([groups.ravel(), random.permutation(order[~whole])]).astype(np.int64)


def _spread(places: Float32Array, count: int, random: np.random.Generator) -> Float32Array:
    """Starting centres far from each other (k-means++)."""
    chosen = [int(random.integers(len(places)))]
    nearest = np.full(len(places), -1.0, dtype=np.float32)
    for _ in range(count - 1):
        nearest = np.maximum(nearest, places @ places[chosen[-1]])
        distance = np.clip(1.0 - nearest.astype(np.float64), 0.0, None)
        if not distance.sum():
            break
        chosen.append(int(random.choice(len(places), p=distance / distance.sum())))
    return places[chosen]


def _unit(vectors: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float32Array = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
