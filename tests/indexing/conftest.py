"""Small catalogues of vectors on disk."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.types import Float32Array

WriteVectors = Callable[..., Path]


def unit_rows(rows: int, dim: int, seed: int) -> Float32Array:
    """Clustered unit vectors, `(rows, dim)`."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(50, dim))
    vectors = centres[rng.integers(0, 50, rows)] + 0.7 * rng.normal(size=(rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.fixture
def write_vectors(tmp_path: Path) -> WriteVectors:
    def write(vectors: Float32Array, *, fingerprint: str = "f" * 64) -> Path:
        directory = tmp_path / "vectors"
        directory.mkdir()
        rows, dim = vectors.shape
        np.save(directory / "vectors.npy", vectors)
        pq.write_table(
            pa.table(
                {
                    "product_id": [f"p{row}" for row in range(rows)],
                    "title": [f"title {row}" if row % 5 else None for row in range(rows)],
                    "has_text": [row % 5 > 0 for row in range(rows)],
                    "has_image": [row % 2 > 0 for row in range(rows)],
                }
            ),
            directory / "products.parquet",
        )
        record = {
            "format_version": 1,
            "encoder_fingerprint": fingerprint,
            "dim": dim,
            "rows": rows,
            "dataset_hash": "d" * 64,
        }
        (directory / "vectors.json").write_text(json.dumps(record))
        return directory

    return write


@pytest.fixture
def catalogue() -> Float32Array:
    return unit_rows(3000, 24, seed=1)


@pytest.fixture
def queries() -> Float32Array:
    return unit_rows(60, 24, seed=2)
