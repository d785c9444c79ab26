import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.config.index import IndexConfig
from mmr.stages.build_index import build_index


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    directory = tmp_path / "vectors"
    directory.mkdir()
    np.save(directory / "vectors.npy", rows)
    columns = {
        "product_id": [str(row) for row in range(200)],
        "title": [""] * 200,
        "has_text": [True] * 200,
        "has_image": [False] * 200,
    }
    pq.write_table(pa.table(columns), directory / "products.parquet")
    record = {"encoder_fingerprint": "f" * 64, "dim": 8, "rows": 200, "dataset_hash": "d" * 64}
    (directory / "vectors.json").write_text(json.dumps({"format_version": 1, **record}))
    return directory


def test_queries_beside_the_vectors_measure_the_recall(vectors: Path, tmp_path: Path) -> None:
    without = build_index(vectors=vectors, out=tmp_path / "one", settings=IndexConfig())
    np.save(vectors / "queries.npy", np.load(vectors / "vectors.npy")[:10])
    beside = build_index(vectors=vectors, out=tmp_path / "two", settings=IndexConfig())
    assert (without.recall_source, beside.recall_source) == ("products", "queries")
    record = json.loads((tmp_path / "two" / "index.json").read_text())
    assert record["recall_queries"] == 10


def test_the_report_gives_figures_to_log(vectors: Path, tmp_path: Path) -> None:
    metrics = build_index(
        vectors=vectors, out=tmp_path / "one", settings=IndexConfig()
    ).as_metrics()
    assert metrics["index_products"] == 200
    assert metrics["index_recall_at_100"] == 1.0
    assert metrics["index_bytes"] == (tmp_path / "one" / "index.faiss").stat().st_size


def test_an_empty_output_directory_may_be_there_already(vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # as a pipeline runner makes it
    build_index(vectors=vectors, out=tmp_path / "out", settings=IndexConfig())
    assert (tmp_path / "out" / "index.faiss").is_file()
