"""An index opened for search: it answers only for the encoder that it was built with."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from mmr.config.index import IndexKind
from mmr.errors import ConfigError, CorruptArtifactError, IndexMismatchError
from mmr.indexing import kinds
from mmr.indexing.files import check_file, read_index
from mmr.indexing.manifest import INDEX_FILE, PRODUCTS_FILE, IndexManifest, read_manifest
from mmr.indexing.vectors import read_products
from mmr.types import Coverage, Float32Array, Int64Array


class ProductIndex:
    """Finds the products nearest to query vectors. Open one with `ProductIndex.open`.

    Searching is safe from several threads at once.

    Attributes:
        manifest: `index.json`.
        products: The product rows, see `mmr.indexing.vectors.CatalogueVectors`.
    """

    def __init__(self, index: Any, manifest: IndexManifest, products: pa.Table) -> None:
        self._index = index
        self._kind: IndexKind = manifest.kind
        self._exact = kinds.exact_store(self._kind, index)
        self.products = products
        self.manifest = manifest

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        encoder_fingerprint: str,
        verify: bool = True,
        threads: int | None = None,
    ) -> ProductIndex:
        """Opens the index of a directory, memory-mapped.

        Args:
            directory: Written by `build_index`.
            encoder_fingerprint: Of the encoder whose query vectors will be searched.
            verify: Whether to compare the files' hashes before parsing them. Leave it on unless
                the whole release was verified just before.
            threads: Threads that one search call may use, a setting of the whole process; Faiss's
                own choice (all cores) when None.

        Raises:
            IndexMismatchError: The index was built from another encoder.
            CorruptArtifactError: A file differs from its record or cannot be parsed.
            ArtifactError: The directory is no index.
        """
        manifest = read_manifest(directory)
        _check_fingerprint(directory, manifest.encoder_fingerprint, encoder_fingerprint)
        check_file(directory / PRODUCTS_FILE, manifest.products, verify=verify)
        index = read_index(directory / INDEX_FILE, manifest.index, verify=verify)
        products = read_products(directory / PRODUCTS_FILE)
        if (index.ntotal, index.d, products.num_rows) != (
            manifest.rows,
            manifest.dim,
            manifest.rows,
        ):
            raise CorruptArtifactError(
                f"{directory} disagrees with itself: index.json says {manifest.rows} products of "
                f"{manifest.dim} dimensions, {INDEX_FILE} holds {index.ntotal} of {index.d}, "
                f"{PRODUCTS_FILE} {products.num_rows} rows. Build the index again."
            )
        if threads is not None:
            faiss.omp_set_num_threads(threads)
        return cls(index, manifest, products)

    def __len__(self) -> int:
        """Number of products."""
        return self.manifest.rows

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.dim

    @cached_property
    def product_ids(self) -> list[str]:
        """The shop's ids, by row number."""
        return list(self.products["product_id"].to_pylist())

    @cached_property
    def titles(self) -> list[str]:
        """Product titles, by row number; empty where a product has none."""
        return [title or "" for title in self.products["title"].to_pylist()]

    @property
    def coverage(self) -> Coverage:
        """How many products the index holds, and how many had text and an image."""
        return Coverage(**self.manifest.coverage.model_dump())

    def search(self, vectors: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
        """Finds the `k` nearest products of each query vector, best first.

        Args:
            vectors: `(queries, dim)`, unit length.
            k: Products per query; a catalogue with fewer products returns all of them.

        Returns:
            Row numbers and cosine similarities, each `(queries, min(k, products))`.

        Raises:
            IndexMismatchError: The vectors have another dimension.
            ConfigError: `k` is below 1, or a vector is not finite.
        """
        queries = self._checked(vectors, k)
        k = min(k, len(self))
        scores, rows = self._index.search(queries, k)
        short = (rows < 0).any(axis=1)  # an approximate index may find fewer than k
        if short.any():
            scores[short], rows[short] = self._exact.search(queries[short], k)
        return rows, scores

    def exact_search(self, vectors: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
        """Like `search`, but compares with every product: the yardstick of recall and parity."""
        scores, rows = self._exact.search(self._checked(vectors, k), min(k, len(self)))
        return rows, scores

    def vectors(self, start: int = 0, count: int | None = None) -> Float32Array:
        """The product vectors exactly as indexed, `(count, dim)`, from row `start` on."""
        count = len(self) - start if count is None else count
        if start < 0 or count < 0 or start + count > len(self):
            raise ConfigError(
                f"Rows {start} to {start + count} were asked for, but the index has {len(self)}."
            )
        found: Float32Array = self._exact.reconstruct_n(start, count)
        return found

    def _checked(self, vectors: Float32Array, k: int) -> Float32Array:
        if k < 1:
            raise ConfigError(f"k must be at least 1, not {k}.")
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise IndexMismatchError(
                f"The index holds {self.dim}-d vectors, but the query vectors have shape "
                f"{vectors.shape}. Use the encoder of the index's own release."
            )
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if not np.isfinite(queries).all():
            raise ConfigError("A query vector holds NaN or infinity; nothing is near to it.")
        return queries


def check_pair(directory: Path, *, encoder_fingerprint: str) -> IndexManifest:
    """Checks that an index belongs to an encoder, without opening the index.

    Raises:
        IndexMismatchError: It belongs to another.
        ArtifactError: The directory is no index.
    """
    manifest = read_manifest(directory)
    _check_fingerprint(directory, manifest.encoder_fingerprint, encoder_fingerprint)
    return manifest


def _check_fingerprint(directory: Path, built_with: str, given: str) -> None:
    if built_with != given:
        raise IndexMismatchError(
            f"Index {directory} was built with encoder {built_with}, but the encoder at hand is "
            f"{given}. Open it with the encoder of its own release, or build a new index with this "
            "encoder (`mmr run` does both)."
        )
