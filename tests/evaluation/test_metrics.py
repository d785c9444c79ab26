"""Metrics of the library against the textbook, in plain Python."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr.errors import DataContractError
from mmr.evaluation.metrics import METRICS, mean_metrics, query_metrics, relevant_judgements


def frame(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "product_id", "grade"])


def textbook(ranked: list[str], grades: dict[str, int]) -> dict[str, float]:
    best = {product for product, grade in grades.items() if grade == max(grades.values())}

    def dcg(gains: list[int]) -> float:
        return sum((2**g - 1) / math.log2(rank + 2) for rank, g in enumerate(gains[:10]))

    hits = [rank for rank, product in enumerate(ranked[:10], start=1) if product in best]
    return {
        "recall_at_10": len(best & set(ranked[:10])) / len(best),
        "recall_at_100": len(best & set(ranked[:100])) / len(best),
        "ndcg_at_10": dcg([grades.get(p, 0) for p in ranked])
        / dcg(sorted(grades.values(), reverse=True)),
        "mrr_at_10": 1 / hits[0] if hits else 0.0,
    }


@settings(max_examples=80, deadline=None)
@given(
    products=st.integers(1, 130),
    judged=st.dictionaries(st.integers(0, 140), st.integers(0, 4), min_size=1, max_size=40),
    seed=st.integers(0, 10_000),
)
def test_every_metric_equals_the_textbook(products: int, judged: dict[int, int], seed: int) -> None:
    """Judged products from 130 on are not in the catalogue: they can only be missed."""
    judged[0] = max(1, judged.get(0, 0))
    order = np.random.default_rng(seed).permutation(products)[:100]
    # Ids whose alphabetical order differs from any ranking: trec_eval breaks ties by id.
    ids = [f"p{(row * 7919) % 1009:04d}" for row in range(200)]
    grades = {ids[row]: grade for row, grade in judged.items()}

    result = query_metrics(
        order[None],
        query_ids=["q"],
        product_ids=ids[:products],
        judgements=frame([("q", product, grade) for product, grade in grades.items()]),
    )

    expected = textbook([ids[row] for row in order], grades)
    assert result.loc["q"].to_dict() == pytest.approx(expected, abs=1e-9)


def test_recall_and_mrr_count_the_best_grade_only_and_ndcg_all_grades() -> None:
    judgements = frame([("q", "white wardrobe", 2), ("q", "black wardrobe", 1)])

    result = query_metrics(
        np.asarray([[1, 2]]),
        query_ids=["q"],
        product_ids=["white wardrobe", "black wardrobe", "lamp"],
        judgements=judgements,
    ).loc["q"]

    assert (result["recall_at_10"], result["mrr_at_10"]) == (0, 0)
    assert result["ndcg_at_10"] == pytest.approx(1 / (3 + 1 / math.log2(3)))


def test_rows_come_back_in_the_order_of_the_queries() -> None:
    judgements = frame([("b", "x", 1), ("a", "y", 1), ("c", "x", 1)])

    result = query_metrics(
        np.asarray([[0, 1], [0, 1], [1, 0]]),
        query_ids=["b", "a", "c"],
        product_ids=["x", "y"],
        judgements=judgements,
    )

    assert result["mrr_at_10"].to_dict() == {"b": 1.0, "a": 0.5, "c": 0.5}
    assert list(result.columns) == list(METRICS)


def test_a_query_with_nothing_relevant_is_refused_by_name() -> None:
    with pytest.raises(DataContractError, match="the first is nobody"):
        query_metrics(
            np.asarray([[0], [0]]),
            query_ids=["q", "nobody"],
            product_ids=["x"],
            judgements=frame([("q", "x", 1), ("nobody", "x", 0)]),
        )


@pytest.mark.parametrize("grade", [-1, 11])
def test_a_grade_out_of_range_is_refused_with_its_query_and_product(grade: int) -> None:
    with pytest.raises(DataContractError, match=f"Query q and product x have grade {grade}"):
        relevant_judgements(frame([("q", "x", grade)]))


def test_means_carry_their_count() -> None:
    per_query = pd.DataFrame([[0.0] * 4, [1.0] * 4], columns=list(METRICS))
    assert mean_metrics(per_query) == {**dict.fromkeys(METRICS, 0.5), "count": 2}
