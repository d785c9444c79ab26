"""Reads the vectors of a catalogue as `embed_catalogue` wrote them, and refuses damaged ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.types import Coverage, Float32Array

BLOCK_ROWS = 65_536
_LENGTH_TOLERANCE = 1e-3
_PRODUCT_COLUMNS = ("product_id", "title", "has_text", "has_image")
WEIGHT_COLUMNS = ("text_weight", "image_weight")
CONTENT_COLUMN = "content"
EXPANSION_COLUMN = "expansion"
_LATER_COLUMNS = {  # null in files from before they were recorded
    **dict.fromkeys(WEIGHT_COLUMNS, pa.float32()),
    CONTENT_COLUMN: pa.binary(16),
    EXPANSION_COLUMN: pa.string(),
}


@dataclass(frozen=True)
class CatalogueVectors:
    """The embeddings of a catalogue, memory-mapped.

    Attributes:
        vectors: `(products, dim)`, unit length.
        products: `product_id`, `title`, `has_text`, `has_image`, `text_weight`, `image_weight`,
            `content` (a hash of what the vector is made of), `expansion` (words that follow the
            title where the encoder reads it; null where it reads none), in the order of the
            vectors.
    """

    vectors: Float32Array
    products: pa.Table
    encoder_fingerprint: str
    dataset_hash: str

    @property
    def coverage(self) -> Coverage:
        """How many products had text and an image."""
        return Coverage(
            products=self.products.num_rows,
            with_text=int(np.count_nonzero(self.products["has_text"].to_numpy())),
            with_image=int(np.count_nonzero(self.products["has_image"].to_numpy())),
        )


def blocks(vectors: Float32Array) -> Iterator[tuple[int, Float32Array]]:
    """Contiguous float32 blocks of a (memory-mapped) array, each with its first row number."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield start, np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32)


def read_vectors(directory: Path) -> CatalogueVectors:
    """Opens a vectors directory.

    Raises:
        ArtifactError: A file is missing, or the files disagree with each other.
        CorruptArtifactError: A file cannot be parsed, or a vector is not of unit length.
    """
    record = _read_record(directory / "vectors.json")
    vectors = _read_array(directory / "vectors.npy")
    products = read_products(directory / "products.parquet")
    expected = (record.rows, record.dim)
    if vectors.shape != expected or products.num_rows != len(vectors):
        raise ArtifactError(
            f"{directory} disagrees with itself: vectors.json says {expected}, vectors.npy holds "
            f"{vectors.shape}, products.parquet {products.num_rows} rows. Embed the catalogue "
            "again."
        )
    if not len(vectors):
        raise ArtifactError(f"{directory} holds no products. An index needs at least one.")
    _check_unit_length(vectors, directory)
    return CatalogueVectors(
        vectors=vectors,
        products=products,
        encoder_fingerprint=record.encoder_fingerprint,
        dataset_hash=record.dataset_hash,
    )


def read_products(path: Path) -> pa.Table:
    """Reads the product rows of a vectors or index directory.

    The weights of text and image are null where the file has none (it is older than they are, or
    the fusion cannot state them), so is the hash of a product's content where the file is older,
    and its expansion where the encoder has no use for one.

    Raises:
        CorruptArtifactError: The file is missing, damaged, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            stored = [name for name in _LATER_COLUMNS if name in file.schema_arrow.names]
            table = file.read(columns=[*_PRODUCT_COLUMNS, *stored])
        for name, kind in _LATER_COLUMNS.items():
            if name not in stored:
                table = table.append_column(name, pa.nulls(table.num_rows, kind))
        return table.select([*_PRODUCT_COLUMNS, *_LATER_COLUMNS])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise CorruptArtifactError(
            f"{path} cannot be read ({error}). Embed the catalogue and build the index again."
        ) from error


def recorded_words(products: pa.Table) -> dict[str, tuple[str, ...]] | None:
    """Words of document expansion by product id; None where the encoder reads none."""
    recorded = products[EXPANSION_COLUMN]
    if recorded.null_count == products.num_rows:
        return None
    return {
        name: tuple(said.split())
        for name, said in zip(products["product_id"].to_pylist(), recorded.to_pylist(), strict=True)
    }


def read_query_vectors(path: Path, *, dim: int) -> Float32Array:
    """Reads the `(queries, dim)` vectors that recall is measured on.

    Raises:
        ArtifactError: They do not fit the index.
    """
    queries = _read_array(path)
    if queries.ndim != 2 or queries.shape[1] != dim or not len(queries):
        raise ArtifactError(
            f"{path} holds an array of shape {queries.shape}, but recall needs (queries, {dim})."
        )
    _check_unit_length(queries, path)
    return queries


class _VectorsRecord(BaseModel):
    encoder_fingerprint: str = Field(min_length=1)
    dataset_hash: str
    rows: int
    dim: int


def _read_record(path: Path) -> _VectorsRecord:
    try:
        return _VectorsRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}. Embed the catalogue again."
        ) from error


def _read_array(path: Path) -> Float32Array:
    try:
        array: Float32Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifactError(
            f"{path} cannot be read ({error}). Embed the catalogue again."
        ) from error
    if array.dtype != np.float32:
        raise ArtifactError(f"{path} holds {array.dtype}, but an index needs float32.")
    return array


def _check_unit_length(vectors: Float32Array, source: Path) -> None:
    for start, block in blocks(vectors):
        lengths = np.linalg.norm(block, axis=1)
        wrong = ~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE)  # true for NaN as well
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CorruptArtifactError(
                f"{source}: the vector in row {start + row} has length {lengths[row]:.4g}, not 1 "
                f"({int(wrong.sum())} such rows near it). Embed the catalogue again."
            )
