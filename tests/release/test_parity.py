import numpy as np
import pytest

from mmr.errors import ArtifactError
from mmr.release.parity import ParityReport, measure_parity
from mmr.release.parity import check_parity as refuse
from mmr.types import Float32Array


def unit(rows: int, seed: int, dim: int = 16) -> Float32Array:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def check_parity(*, max_cosine_distance: float = 1e-4, **sides: object) -> ParityReport:
    return refuse(measure_parity(**sides), max_cosine_distance=max_cosine_distance)


TEXTS = [f"query {row}" for row in range(20)]


def test_equal_encoders_pass() -> None:
    queries = unit(20, 0)
    report = check_parity(
        texts=TEXTS, reference=queries, exported=queries.copy(), products=unit(500, 1)
    )
    assert report.queries == 20
    assert report.max_cosine_distance == 0
    assert report.max_rank_gap == 0


def test_the_distance_is_one_minus_the_cosine() -> None:
    queries = unit(20, 0)
    turned = queries.copy()
    turned[7] += 0.01 * unit(1, 5)[0]
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    report = check_parity(
        texts=TEXTS, reference=queries, exported=turned, products=unit(1, 1), max_cosine_distance=1
    )
    expected = 1 - np.sum(queries.astype(np.float64) * turned, axis=1).min()
    assert report.max_cosine_distance == pytest.approx(expected, abs=1e-7)


def test_an_encoder_beyond_the_tolerance_is_refused_by_its_worst_query() -> None:
    queries = unit(20, 0)
    turned = queries.copy()
    turned[7] = unit(1, 5)[0]
    with pytest.raises(ArtifactError, match=r"cosine distance .* for the query 'query 7'.*1e-04"):
        check_parity(texts=TEXTS, reference=queries, exported=turned, products=unit(500, 1))


def test_another_top_product_is_refused_even_within_the_cosine_tolerance() -> None:
    queries = unit(20, 0)
    products = unit(500, 1)
    best = products[np.argmax(queries[3] @ products.T)]
    other = best + 0.002 * unit(1, 6)[0]
    products = np.vstack([products, (other / np.linalg.norm(other))[None]]).astype(np.float32)
    turned = queries.copy()
    turned[3] += 0.01 * (other - best) / np.linalg.norm(other - best)
    turned[3] -= 0.02 * (turned[3] @ best - queries[3] @ best) * best
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    with pytest.raises(ArtifactError, match=r"finds other products.*'query 3'"):
        check_parity(texts=TEXTS, reference=queries, exported=turned, products=products)


def test_products_that_tie_may_swap_places() -> None:
    queries = unit(20, 0)
    products = unit(50, 1)
    nudged = queries + 1e-7 * unit(20, 9)
    doubled = np.vstack([products, products])  # each product twice: every rank is a tie
    report = check_parity(
        texts=TEXTS, reference=queries, exported=nudged.astype(np.float32), products=doubled
    )
    assert report.max_rank_gap < 1e-5


def test_nan_is_refused() -> None:
    queries = unit(20, 0)
    broken = queries.copy()
    broken[2, 0] = np.nan
    with pytest.raises(ArtifactError, match="query 2"):
        check_parity(texts=TEXTS, reference=queries, exported=broken, products=unit(50, 1))


def test_sides_of_different_size_are_refused() -> None:
    with pytest.raises(ArtifactError, match="same queries on both sides"):
        check_parity(texts=TEXTS, reference=unit(20, 0), exported=unit(19, 0), products=unit(50, 1))


def test_measuring_counts_the_changed_queries_and_refuses_nothing() -> None:
    queries = unit(20, 0)
    turned = queries.copy()
    turned[[4, 9]] = unit(2, 5)
    report = measure_parity(texts=TEXTS, reference=queries, exported=turned, products=unit(500, 1))
    assert (report.queries, report.changed) == (20, 2)
    assert {report.farthest, report.most_changed} <= {"query 4", "query 9"}
    assert report.max_cosine_distance > 0.1
