"""Builds an index and raises its search effort until the recall is reached."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from mmr.atomic import new_directory, write_json
from mmr.config.index import IndexConfig, IndexKind
from mmr.errors import ArtifactError
from mmr.hashing import sha256_file
from mmr.indexing import kinds
from mmr.indexing.files import write_index
from mmr.indexing.manifest import (
    FORMAT_VERSION,
    INDEX_FILE,
    MANIFEST_FILE,
    PRODUCTS_FILE,
    FileRecord,
    IndexCoverage,
    IndexManifest,
)
from mmr.indexing.vectors import CatalogueVectors, read_query_vectors, read_vectors
from mmr.types import Float32Array

RECALL_DEPTH = 100
_TIE_TOLERANCE = 1e-6  # products as near as the 100th best are as good an answer


@dataclass(frozen=True)
class IndexReport:
    """What was built.

    Attributes:
        recall_at_100: Share of the exact 100 best found, equal scores counting as found.
        search_effort: HNSW efSearch or IVF nprobe; 0 for flat.
        query_ms: Mean time of one query, alone, on one thread, milliseconds.
        build_s: Training and adding, seconds.
        index_bytes: Size of `index.faiss`.
    """

    kind: str
    products: int
    dim: int
    recall_at_100: float
    recall_source: str
    search_effort: int
    query_ms: float
    build_s: float
    index_bytes: int

    def as_metrics(self) -> dict[str, float]:
        """The figures to log."""
        return {
            "index_products": float(self.products),
            "index_recall_at_100": self.recall_at_100,
            "index_search_effort": float(self.search_effort),
            "index_query_ms": self.query_ms,
            "index_build_s": self.build_s,
            "index_bytes": float(self.index_bytes),
        }


@dataclass(frozen=True)
class _Measured:
    recall: float
    effort: int
    queries: Float32Array
    source: Literal["queries", "products"]


def build_product_index(
    *, vectors: Path, queries: Path | None, out: Path, settings: IndexConfig
) -> IndexReport:
    """Builds, measures and writes the index of a vectors directory.

    Args:
        vectors: Written by `embed_catalogue`.
        queries: `.npy` of query vectors `(queries, dim)` to measure recall on. Without it, product
            vectors are sampled, an optimistic proxy: each finds itself.
        out: Directory to write; appears whole or not at all.
        settings: Kind, limits, and the recall to reach.

    Raises:
        ArtifactError: The vectors are damaged, the recall cannot be reached, or the disk is full.
    """
    catalogue = read_vectors(vectors)
    kind = settings.kind_for(len(catalogue.vectors))
    sample, source = _recall_queries(catalogue, queries, settings)
    with kinds.threads(settings.build_threads):
        start = time.perf_counter()
        index = kinds.build(kind, catalogue.vectors, settings)
        build_s = time.perf_counter() - start
        recall, effort = _reach_recall(kind, index, sample, settings)
    measured = _Measured(recall=recall, effort=effort, queries=sample, source=source)
    record = _write(index, kind, catalogue, measured, out)
    return IndexReport(
        kind=kind.value,
        products=index.ntotal,
        dim=index.d,
        recall_at_100=recall,
        recall_source=source,
        search_effort=effort,
        query_ms=_single_query_ms(index, sample),
        build_s=build_s,
        index_bytes=record.bytes,
    )


def _recall_queries(
    catalogue: CatalogueVectors, queries: Path | None, settings: IndexConfig
) -> tuple[Float32Array, Literal["queries", "products"]]:
    source = (
        catalogue.vectors
        if queries is None
        else read_query_vectors(queries, dim=catalogue.vectors.shape[1])
    )
    order = np.random.default_rng(settings.seed).permutation(len(source))
    sample = np.ascontiguousarray(source[np.sort(order[: settings.recall_queries])])
    return sample, "products" if queries is None else "queries"


def _reach_recall(
    kind: IndexKind, index: Any, queries: Float32Array, settings: IndexConfig
) -> tuple[float, int]:
    """Raises the search effort step by step; returns the recall and the effort it took."""
    depth = min(RECALL_DEPTH, index.ntotal)
    exact_scores, _ = kinds.exact_store(kind, index).search(queries, depth)
    recall, effort = 0.0, 0
    for effort in kinds.search_efforts(kind, index, settings):
        kinds.set_search_effort(kind, index, effort)
        scores, _ = index.search(queries, depth)
        recall = float(np.mean(scores >= exact_scores[:, -1:] - _TIE_TOLERANCE))
        if recall >= settings.min_recall:
            return recall, effort
    raise ArtifactError(
        f"The {kind.value} index reaches recall@{RECALL_DEPTH} {recall:.4f} at search effort "
        f"{effort}, below min_recall {settings.min_recall}, on {len(queries)} queries over "
        f"{index.ntotal} products. Raise max_search_effort ({settings.max_search_effort}) or "
        f"hnsw_build_effort ({settings.hnsw_build_effort}), or set kind to flat."
    )


def _single_query_ms(index: Any, queries: Float32Array) -> float:
    rounds = min(50, len(queries))
    depth = min(RECALL_DEPTH, index.ntotal)
    with kinds.threads(1):
        start = time.perf_counter()
        for row in range(rounds):
            index.search(queries[row : row + 1], depth)
        return (time.perf_counter() - start) / rounds * 1e3


def _write(
    index: Any, kind: IndexKind, catalogue: CatalogueVectors, measured: _Measured, out: Path
) -> FileRecord:
    try:
        with new_directory(out) as scratch:
            record = write_index(index, scratch / INDEX_FILE)
            products = scratch / PRODUCTS_FILE
            pq.write_table(catalogue.products, products)
            coverage = catalogue.coverage
            manifest = IndexManifest(
                format_version=FORMAT_VERSION,
                encoder_fingerprint=catalogue.encoder_fingerprint,
                kind=kind,
                dim=index.d,
                rows=index.ntotal,
                search_effort=measured.effort,
                recall_at_100=round(measured.recall, 6),
                recall_queries=len(measured.queries),
                recall_source=measured.source,
                index=record,
                products=FileRecord(bytes=products.stat().st_size, sha256=sha256_file(products)),
                coverage=IndexCoverage.model_validate(coverage, from_attributes=True),
                dataset_hash=catalogue.dataset_hash,
            )
            write_json(scratch / MANIFEST_FILE, manifest.model_dump(mode="json"))
    except OSError as error:
        raise _writing_failed(error, index, out) from error
    return record


def _writing_failed(error: OSError, index: Any, out: Path) -> ArtifactError:
    needed = index.ntotal * index.d * 4 / 1e6
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ArtifactError(
            f"The disk is full: the index of {index.ntotal} products (at least {needed:.0f} MB) "
            f"could not be written to {out} ({error.strerror}). Nothing was left behind. Free some "
            "space and run the same command again."
        )
    return ArtifactError(
        f"The index could not be written to {out} ({error}). Nothing was left behind. Check the "
        "directory's permissions and run the same command again."
    )
