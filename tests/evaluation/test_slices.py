"""Which query falls into which slice."""

import pandas as pd

from mmr.evaluation.slices import product_facts, slice_queries


def judged(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query_id", "product_id", "grade"])


PRODUCTS = product_facts(
    ["short", "long", "bare", "new"],
    texts=["Red vase", "A tall red vase of hand blown glass from Sweden", "", "New vase thing"],
    has_image=[True, True, False, True],
    trained_on={"short", "long", "bare"},
)
QUERIES = pd.DataFrame({"query_id": ["q1", "q2", "q3"], "kind": ["visual", "text", "visual"]})


def slices(rows: list[tuple[str, str, int]]) -> dict[str, list[str]]:
    found = slice_queries(
        QUERIES, judgements=judged(rows), products=PRODUCTS, sparse_text_share=0.4
    )
    return {part.name: part.query_ids for part in found}


def test_kinds_are_slices_and_a_slice_without_queries_is_left_out() -> None:
    found = slices([("q1", "long", 1), ("q2", "long", 1), ("q3", "long", 1)])
    assert found == {"kind=text": ["q2"], "kind=visual": ["q1", "q3"]}


def test_text_is_sparse_when_the_median_relevant_product_is_among_the_shortest() -> None:
    """Four products of 0, 2, 3 and 10 words: the shortest 40 % have up to 2."""
    found = slices([("q1", "short", 1), ("q2", "short", 1), ("q2", "long", 1), ("q3", "long", 1)])
    assert found["sparse text"] == ["q1"]


def test_half_of_the_relevant_products_without_image_make_a_no_image_query() -> None:
    found = slices([("q1", "bare", 1), ("q1", "long", 1), ("q2", "long", 1), ("q3", "long", 1)])
    assert found["no image"] == ["q1"]


def test_cold_start_means_that_no_train_judgement_names_the_products() -> None:
    found = slices([("q1", "long", 1), ("q2", "new", 1), ("q3", "long", 1)])
    assert found["cold start"] == ["q2"]


def test_only_products_of_the_best_grade_decide() -> None:
    found = slices([("q1", "long", 2), ("q1", "bare", 1), ("q1", "new", 1)])
    assert set(found) == {"kind=text", "kind=visual"}


def test_judged_products_that_the_catalogue_lacks_are_passed_over() -> None:
    found = slices([("q1", "bare", 1), ("q1", "gone", 1), ("q1", "lost", 1)])
    assert found["no image"] == ["q1"]


def test_queries_without_a_kind_belong_to_no_kind_slice() -> None:
    queries = pd.DataFrame({"query_id": ["q1"], "kind": [""]})
    found = slice_queries(
        queries, judgements=judged([("q1", "long", 1)]), products=PRODUCTS, sparse_text_share=0.4
    )
    assert found == []
