import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mmr.training.categories import grouped_order, query_categories


def test_queries_of_like_products_share_a_category() -> None:
    random = np.random.default_rng(0)
    kinds = random.permutation(np.repeat(np.arange(4), 25))  # of 100 products
    centres = random.normal(size=(4, 16)) * 3
    features = (centres[kinds] + random.normal(size=(100, 16)) * 0.3).astype("f4")
    asked = random.permutation(np.repeat(np.arange(4), 10))  # of 40 queries
    grades = np.zeros((40, 100), dtype="i1")
    for row, kind in enumerate(asked):
        grades[row, random.choice(np.flatnonzero(kinds == kind), 3, replace=False)] = [1, 2, 2]

    found = query_categories(csr_array(grades), features, count=4, seed=1)

    assert len(set(found.tolist())) == 4
    for kind in range(4):
        assert len(set(found[asked == kind].tolist())) == 1
    np.testing.assert_array_equal(
        found, query_categories(csr_array(grades), features, count=4, seed=1)
    )


def test_more_clusters_than_queries_or_than_different_ones_do_no_harm() -> None:
    grades = csr_array(np.eye(5, 6, dtype="i1"))

    few = query_categories(grades, np.eye(6, 4, dtype="f4"), count=50, seed=0)
    alike = query_categories(grades, np.ones((6, 4), dtype="f4"), count=3, seed=0)

    assert len(few) == 5
    assert set(alike.tolist()) == {0}


@given(
    categories=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    size=st.integers(1, 8),
    seed=st.integers(0, 3),
)
def test_an_order_has_each_row_once_and_whole_groups_first(
    categories: list[int], size: int, seed: int
) -> None:
    labels = np.asarray(categories)

    order = grouped_order(labels, size=size, random=np.random.default_rng(seed))

    assert sorted(order.tolist()) == list(range(len(labels)))
    whole = sum(int((labels == label).sum()) // size for label in set(categories))
    for group in order[: whole * size].reshape(-1, size):
        assert len(set(labels[group].tolist())) == 1
