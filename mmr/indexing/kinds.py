"""The kinds of Faiss index: how each is built, made to search harder, and read back exactly.

All of them score by inner product, which is the cosine for unit vectors, and all of them hold the
exact vectors, so the scores they return are exact; only *which* products they find is approximate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from mmr.config.index import IndexConfig, IndexKind
from mmr.indexing.vectors import blocks
from mmr.types import Float32Array

_TRAINING_POINTS_PER_LIST = 64
_FIRST_EFFORT = {IndexKind.FLAT: 0, IndexKind.HNSW: 64, IndexKind.IVF: 8}
_REFINE_FACTOR = 4.0  # candidates re-scored with exact vectors, per result asked for


def build(kind: IndexKind, vectors: Float32Array, settings: IndexConfig) -> Any:
    """Builds an index over all vectors, `(products, dim)`, at its lowest search effort."""
    index = _BUILDERS[kind](vectors, settings)
    for _, block in blocks(vectors):
        index.add(block)
    set_search_effort(kind, index, _FIRST_EFFORT[kind])
    return index


def search_efforts(kind: IndexKind, index: Any, settings: IndexConfig) -> Iterator[int]:
    """The efforts to try until the recall is reached: doubling, up to the limit."""
    if kind is IndexKind.FLAT:
        yield 0
        return
    most = index.ntotal if kind is IndexKind.HNSW else faiss.extract_index_ivf(index).nlist
    most = max(1, min(most, settings.max_search_effort))
    effort = _FIRST_EFFORT[kind]
    while effort < most:
        yield effort
        effort *= 2
    yield most


def set_search_effort(kind: IndexKind, index: Any, effort: int) -> None:
    """Sets HNSW efSearch or IVF nprobe; a flat index has no such thing."""
    if kind is IndexKind.HNSW:
        index.hnsw.efSearch = effort
    elif kind is IndexKind.IVF:
        faiss.extract_index_ivf(index).nprobe = effort


def exact_store(kind: IndexKind, index: Any) -> Any:
    """The flat index inside: all vectors as they were added, searched exhaustively."""
    if kind is IndexKind.HNSW:
        return faiss.downcast_index(index.storage)
    if kind is IndexKind.IVF:
        return faiss.downcast_index(index.refine_index)
    return index


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets Faiss use this many threads inside the block. The setting is one per process."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _flat(vectors: Float32Array, settings: IndexConfig) -> Any:
    return faiss.IndexFlatIP(vectors.shape[1])


def _hnsw(vectors: Float32Array, settings: IndexConfig) -> Any:
    index = faiss.IndexHNSWFlat(
        vectors.shape[1], settings.hnsw_neighbours, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction = settings.hnsw_build_effort
    return index


def _ivf(vectors: Float32Array, settings: IndexConfig) -> Any:
    """Inverted lists of 8-bit vectors, re-scored with the exact ones; 4 sqrt(n) lists."""
    rows, dim = vectors.shape
    lists = max(1, min(round(4 * math.sqrt(rows)), rows // 39))  # Faiss warns below 39 points each
    index: Any = faiss.index_factory(dim, f"IVF{lists},SQ8,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.k_factor = _REFINE_FACTOR
    clustering = faiss.extract_index_ivf(index).cp
    clustering.seed = settings.seed
    clustering.max_points_per_centroid = _TRAINING_POINTS_PER_LIST
    sample = np.random.default_rng(settings.seed).permutation(rows)
    sample = np.sort(sample[: lists * _TRAINING_POINTS_PER_LIST])
    index.train(np.ascontiguousarray(vectors[sample]))
    return index


_BUILDERS: dict[IndexKind, Callable[[Float32Array, IndexConfig], Any]] = {
    IndexKind.FLAT: _flat,
    IndexKind.HNSW: _hnsw,
    IndexKind.IVF: _ivf,
}
