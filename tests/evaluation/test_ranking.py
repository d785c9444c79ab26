"""Exact search against a full sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr.errors import ArtifactError
from mmr.evaluation.ranking import exact_search
from mmr.types import Float32Array, Int64Array


def full_sort(queries: Float32Array, products: Float32Array, k: int) -> Int64Array:
    """Score descending, then row ascending: slow and obvious."""
    rows = []
    for query in queries:
        scores = [float(np.dot(query, product)) for product in products]
        rows.append(sorted(range(len(products)), key=lambda row: (-scores[row], row))[:k])
    return np.asarray(rows, dtype=np.int64).reshape(len(queries), -1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 40), st.integers(1, 4)),
    k=st.integers(1, 45),
    levels=st.integers(1, 3),
    block_rows=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_blocks_and_ties_never_change_the_answer_of_a_full_sort(
    shape: tuple[int, int, int], k: int, levels: int, block_rows: int, seed: int
) -> None:
    """Small integers make scores exact, and ties plenty."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-levels, levels + 1, (shape[0], shape[2])).astype(np.float32)
    products = rng.integers(-levels, levels + 1, (shape[1], shape[2])).astype(np.float32)

    rows, scores = exact_search(queries, products, k, block_bytes=block_rows * 4 * 256)

    np.testing.assert_array_equal(rows, full_sort(queries, products, k))
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ products.T, rows, 1))


def test_more_queries_than_one_block_are_all_answered() -> None:
    rng = np.random.default_rng(0)
    queries = rng.integers(-2, 3, (300, 3)).astype(np.float32)
    products = rng.integers(-2, 3, (50, 3)).astype(np.float32)

    rows, _ = exact_search(queries, products, 10)

    np.testing.assert_array_equal(rows, full_sort(queries, products, 10))


def test_a_memory_map_of_half_precision_is_searched_as_float32(tmp_path) -> None:
    products = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", products)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    queries = np.eye(4, dtype=np.float32)

    rows, scores = exact_search(queries, mapped, 1)

    np.testing.assert_array_equal(rows[:, 0], products.argmax(axis=0))
    assert scores.dtype == np.float32


def test_vectors_of_another_dimension_are_refused_with_both_dimensions() -> None:
    with pytest.raises(ArtifactError, match="3 dimensions, products 2"):
        exact_search(np.zeros((1, 3), np.float32), np.zeros((5, 2), np.float32), 2)


def test_a_vector_that_is_not_finite_is_refused() -> None:
    products = np.ones((5, 2), np.float32)
    products[3] = np.nan
    with pytest.raises(ArtifactError, match="not a finite number"):
        exact_search(np.ones((1, 2), np.float32), products, 2)
