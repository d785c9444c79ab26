from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmr.config.index import IndexConfig, IndexKind
from mmr.errors import ArtifactError, ConfigError, CorruptArtifactError, IndexMismatchError
from mmr.indexing import ProductIndex, build_product_index, check_pair
from mmr.types import Coverage, Float32Array

FINGERPRINT = "f" * 64
KINDS = [IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF]
BuildIndex = Callable[[IndexKind], Path]


@pytest.fixture
def build(
    tmp_path: Path, write_vectors: Callable[..., Path], catalogue: Float32Array
) -> BuildIndex:
    def build_kind(kind: IndexKind) -> Path:
        out = tmp_path / "index"
        settings = IndexConfig(kind=kind)
        build_product_index(
            vectors=write_vectors(catalogue), queries=None, out=out, settings=settings
        )
        return out

    return build_kind


def open_index(directory: Path, *, verify: bool = True) -> ProductIndex:
    return ProductIndex.open(directory, encoder_fingerprint=FINGERPRINT, verify=verify)


def test_a_foreign_encoder_is_refused_with_both_fingerprints(build: BuildIndex) -> None:
    directory = build(IndexKind.FLAT)
    with pytest.raises(IndexMismatchError, match=f"{FINGERPRINT}.*{'0' * 64}.*own release"):
        ProductIndex.open(directory, encoder_fingerprint="0" * 64)
    with pytest.raises(IndexMismatchError, match=f"{FINGERPRINT}.*{'0' * 64}"):
        check_pair(directory, encoder_fingerprint="0" * 64)


def test_moving_an_index_changes_nothing(build: BuildIndex, tmp_path: Path) -> None:
    moved = build(IndexKind.FLAT).rename(tmp_path / "elsewhere")
    assert len(open_index(moved)) == 3000


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_come_back_exactly_as_indexed(
    kind: IndexKind, build: BuildIndex, catalogue: Float32Array
) -> None:
    index = open_index(build(kind))
    np.testing.assert_array_equal(index.vectors(), catalogue)
    np.testing.assert_array_equal(index.vectors(2990, 10), catalogue[2990:])
    with pytest.raises(ConfigError, match="2990 to 3001"):
        index.vectors(2990, 11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_memory_mapped(kind: IndexKind, build: BuildIndex) -> None:
    directory = build(kind)
    index = open_index(directory)
    assert str(directory / "index.faiss") in Path("/proc/self/maps").read_text()
    assert len(index) == 3000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2999, 3000, 10_000])
def test_a_search_never_returns_fewer_products_than_there_are(
    kind: IndexKind, k: int, build: BuildIndex, queries: Float32Array
) -> None:
    rows, scores = open_index(build(kind)).search(queries, k)
    assert rows.shape == scores.shape == (len(queries), min(k, 3000))
    assert rows.min() >= 0
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_ids_titles_and_coverage_follow_the_rows(build: BuildIndex) -> None:
    index = open_index(build(IndexKind.FLAT))
    assert index.product_ids[7] == "p7"
    assert (index.titles[7], index.titles[10]) == ("title 7", "")
    assert index.coverage == Coverage(products=3000, with_text=2400, with_image=1500)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["index.faiss", "products.parquet"])
def test_a_flipped_byte_is_found_before_the_file_is_parsed(
    kind: IndexKind, file: str, build: BuildIndex
) -> None:
    directory = build(kind)
    data = bytearray((directory / file).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (directory / file).write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=f"{file} is corrupt: its SHA-256"):
        open_index(directory)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("kept", [0, 10, 100_000])
def test_a_truncated_index_is_named_even_when_hashes_are_not_checked(
    verify: bool, kept: int, build: BuildIndex
) -> None:
    directory = build(IndexKind.HNSW)
    file = directory / "index.faiss"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CorruptArtifactError, match=f"index.faiss is cut short: {kept} bytes"):
        open_index(directory, verify=verify)


def test_a_file_that_faiss_cannot_parse_is_an_error_of_ours(build: BuildIndex) -> None:
    directory = build(IndexKind.FLAT)
    file = directory / "index.faiss"
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(CorruptArtifactError, match="not a Faiss index"):
        open_index(directory, verify=False)


def test_missing_and_damaged_records_are_named(build: BuildIndex, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not an index: it has no index\.json"):
        open_index(tmp_path)
    directory = build(IndexKind.FLAT)
    (directory / "index.faiss").unlink()
    with pytest.raises(CorruptArtifactError, match=r"index\.faiss is missing"):
        open_index(directory)
    record = (directory / "index.json").read_text()
    (directory / "index.json").write_text(record[:100])
    with pytest.raises(CorruptArtifactError, match=r"index\.json cannot be read"):
        open_index(directory)
    (directory / "index.json").write_text(
        record.replace('"format_version": 1', '"format_version": 9')
    )
    with pytest.raises(ArtifactError, match=r"format version 9.*reads version 1"):
        open_index(directory)


def test_queries_that_cannot_be_answered_are_refused(
    build: BuildIndex, queries: Float32Array
) -> None:
    index = open_index(build(IndexKind.FLAT))
    with pytest.raises(IndexMismatchError, match=r"24-d vectors.*shape"):
        index.search(queries[:, :8], 3)
    with pytest.raises(ConfigError, match="k must be at least 1, not 0"):
        index.search(queries, 0)
    queries[3, 3] = np.nan
    with pytest.raises(ConfigError, match="NaN"):
        index.search(queries, 3)


def test_no_queries_give_no_answers(build: BuildIndex) -> None:
    rows, scores = open_index(build(IndexKind.HNSW)).search(np.empty((0, 24), np.float32), 5)
    assert rows.shape == scores.shape == (0, 5)
