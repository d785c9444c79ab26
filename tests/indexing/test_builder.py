import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmr.config.index import IndexConfig, IndexKind
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.indexing import ProductIndex, build_product_index
from mmr.types import Float32Array

FINGERPRINT = "f" * 64
KINDS = [IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF]


def slow_best(queries: Float32Array, products: Float32Array, k: int) -> Float32Array:
    """The `k` best scores by comparing everything with everything."""
    return np.sort(queries @ products.T, axis=1)[:, ::-1][:, :k]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reaches_its_recall_on_the_given_queries(
    kind: IndexKind,
    tmp_path: Path,
    write_vectors: Callable[..., Path],
    catalogue: Float32Array,
    queries: Float32Array,
) -> None:
    np.save(tmp_path / "queries.npy", queries)
    report = build_product_index(
        vectors=write_vectors(catalogue),
        queries=tmp_path / "queries.npy",
        out=tmp_path / "index",
        settings=IndexConfig(kind=kind, min_recall=0.99),
    )

    index = ProductIndex.open(tmp_path / "index", encoder_fingerprint=FINGERPRINT)
    rows, scores = index.search(queries, 100)
    exact = slow_best(queries, catalogue, 100)
    recall = np.mean(scores >= exact[:, -1:] - 1e-6)
    assert recall >= 0.99
    assert report.recall_at_100 == pytest.approx(recall, abs=1e-4)
    assert report.recall_source == "queries"
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ catalogue.T, rows, axis=1), atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_builds_the_same_bytes(
    kind: IndexKind, tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> None:
    vectors = write_vectors(catalogue)
    for name in ("one", "two"):
        build_product_index(
            vectors=vectors, queries=None, out=tmp_path / name, settings=IndexConfig(kind=kind)
        )
    for file in ("index.faiss", "products.parquet", "index.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_search_effort_is_raised_until_the_recall_holds(
    tmp_path: Path, write_vectors: Callable[..., Path], queries: Float32Array
) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(4000, 48)).astype(np.float32)  # no clusters: nothing to be guided by
    hard /= np.linalg.norm(hard, axis=1, keepdims=True)
    report = build_product_index(
        vectors=write_vectors(hard),
        queries=None,
        out=tmp_path / "index",
        settings=IndexConfig(kind=IndexKind.HNSW, hnsw_neighbours=8, min_recall=0.999),
    )
    assert report.search_effort > 64
    index = ProductIndex.open(tmp_path / "index", encoder_fingerprint=FINGERPRINT)
    exact = slow_best(hard[:200], hard, 100)
    assert np.mean(index.search(hard[:200], 100)[1] >= exact[:, -1:] - 1e-6) >= 0.995


def test_unreachable_recall_is_refused_with_its_figures(
    tmp_path: Path, write_vectors: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(4000, 48)).astype(np.float32)
    hard /= np.linalg.norm(hard, axis=1, keepdims=True)
    settings = IndexConfig(
        kind=IndexKind.HNSW, hnsw_neighbours=4, min_recall=0.999, max_search_effort=64
    )
    with pytest.raises(ArtifactError, match=r"recall@100 0\.\d+ at search effort 64.*0\.999"):
        build_product_index(
            vectors=write_vectors(hard), queries=None, out=tmp_path / "index", settings=settings
        )
    assert not (tmp_path / "index").exists()


def test_the_kind_follows_the_size_of_the_catalogue_and_can_be_chosen() -> None:
    settings = IndexConfig(flat_max_products=10, hnsw_max_products=100)
    assert [settings.kind_for(size) for size in (10, 11, 100, 101)] == [
        IndexKind.FLAT,
        IndexKind.HNSW,
        IndexKind.HNSW,
        IndexKind.IVF,
    ]
    assert IndexConfig(kind=IndexKind.FLAT).kind_for(10**9) is IndexKind.FLAT
    with pytest.raises(ValueError, match="must not exceed"):
        IndexConfig(flat_max_products=10, hnsw_max_products=9)


def test_a_vector_that_is_not_of_unit_length_is_named_by_its_row(
    tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> None:
    catalogue[1234] = np.nan
    with pytest.raises(CorruptArtifactError, match="row 1234 has length nan"):
        build_product_index(
            vectors=write_vectors(catalogue),
            queries=None,
            out=tmp_path / "index",
            settings=IndexConfig(),
        )


def test_vectors_and_products_that_disagree_are_refused(
    tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> None:
    vectors = write_vectors(catalogue)
    np.save(vectors / "vectors.npy", catalogue[:-1])
    with pytest.raises(ArtifactError, match=r"\(3000, 24\).*\(2999, 24\)"):
        build_product_index(
            vectors=vectors, queries=None, out=tmp_path / "index", settings=IndexConfig()
        )


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_tiny_catalogues_can_be_indexed(
    size: int,
    kind: IndexKind,
    tmp_path: Path,
    write_vectors: Callable[..., Path],
    catalogue: Float32Array,
) -> None:
    report = build_product_index(
        vectors=write_vectors(catalogue[:size]),
        queries=None,
        out=tmp_path / "index",
        settings=IndexConfig(kind=kind),
    )
    assert report.products == size
    index = ProductIndex.open(tmp_path / "index", encoder_fingerprint=FINGERPRINT)
    rows, _ = index.search(catalogue[:1], 10)
    assert rows.shape == (1, min(10, size))
    assert rows[0, 0] == 0


_BUILD_WITH_LITTLE_SPACE = """
import resource, signal, sys
from pathlib import Path
from mmr.config.index import IndexConfig
from mmr.errors import ArtifactError
from mmr.indexing import build_product_index

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails with EFBIG
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    build_product_index(
        vectors=Path(sys.argv[1]), queries=None, out=Path(sys.argv[2]), settings=IndexConfig()
    )
except ArtifactError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.parametrize("room", [100_000, 287_900])  # in the middle, and in the last buffer
def test_a_full_disk_is_reported_and_leaves_nothing_behind(
    room: int, tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> None:
    vectors = write_vectors(catalogue)  # 3000 x 24 floats: 288,000 bytes and a header
    out = tmp_path / "place" / "index"
    done = subprocess.run(
        [sys.executable, "-c", _BUILD_WITH_LITTLE_SPACE, str(vectors), str(out), str(room)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "refused: The disk is full: the index of 3000 products" in done.stderr
    assert list((tmp_path / "place").iterdir()) == []


def test_the_record_says_how_the_index_was_measured(
    tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> None:
    build_product_index(
        vectors=write_vectors(catalogue),
        queries=None,
        out=tmp_path / "index",
        settings=IndexConfig(recall_queries=40),
    )
    record = json.loads((tmp_path / "index" / "index.json").read_text())
    assert record["kind"] == "flat"
    assert record["recall_at_100"] == 1.0
    assert (record["recall_source"], record["recall_queries"]) == ("products", 40)
    assert record["coverage"] == {"products": 3000, "with_text": 2400, "with_image": 1500}
    assert record["encoder_fingerprint"] == FINGERPRINT
