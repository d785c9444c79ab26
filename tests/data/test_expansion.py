"""What document expansion adds to a title: words of the training queries that a product answers."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.data.contents import product_contents
from mmr.data.dataset import JUDGEMENT_COLUMNS, QUERY_COLUMNS, Dataset
from mmr.data.expansion import asked_words, expanded_title, lacking_words
from mmr.data.writer import new_dataset

PRODUCTS = ["sofa", "lamp", "vase"]


@pytest.fixture
def shop(tmp_path: Path) -> "Shop":
    return Shop(tmp_path)


class Shop:
    """Writes datasets of three products and the queries that a test gives."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, *asked: tuple[str, str, dict[str, int]]) -> Dataset:
        """Queries as text, split, and grade by product."""
        out = self._root / f"dataset-{len(list(self._root.iterdir()))}"
        queries = [(f"q{row}", text, "", split) for row, (text, split, _) in enumerate(asked)]
        judgements = [
            (f"q{row}", product, grade, 1.0)
            for row, (_, _, grades) in enumerate(asked)
            for product, grade in grades.items()
        ]
        with new_dataset(out, attributes={}) as writer:
            writer.add_products(
                {"product_id": name, "title": name, "description": None, "image": None}
                for name in PRODUCTS
            )
            writer.set_queries(pd.DataFrame(queries, columns=list(QUERY_COLUMNS)))
            writer.set_judgements(pd.DataFrame(judgements, columns=list(JUDGEMENT_COLUMNS)))
            writer.finish(name="shop", prepared=None)
        return Dataset(out)


def test_words_are_those_of_training_queries_alone(shop: Shop) -> None:
    dataset = shop(
        ("red couch", "train", {"sofa": 2}),
        ("blue settee", "validation", {"sofa": 2}),
        ("green divan", "test", {"sofa": 2}),
    )

    assert asked_words(dataset) == {"sofa": ("red", "couch")}


def test_only_a_querys_best_grade_speaks_for_a_product(shop: Shop) -> None:
    dataset = shop(
        ("white light", "train", {"lamp": 2, "vase": 1}),
        ("something", "train", {"vase": 1, "sofa": 0}),
        ("nothing here", "train", {"sofa": 0}),
    )

    assert asked_words(dataset) == {"lamp": ("white", "light"), "vase": ("something",)}


def test_what_more_queries_say_stands_first_and_ties_keep_their_order(shop: Shop) -> None:
    dataset = shop(
        ("old oak Oak oak", "train", {"sofa": 1}),
        ("Brown oak", "train", {"sofa": 1}),
        ("brown seat", "train", {"sofa": 1}),
    )

    assert asked_words(dataset)["sofa"] == ("oak", "brown", "old", "seat")


def test_query_left_out_leaves_only_the_words_of_the_others(shop: Shop) -> None:
    dataset = shop(
        ("red couch", "train", {"sofa": 1}),
        ("red seat", "train", {"sofa": 1}),
        ("bulb", "train", {"lamp": 1}),
    )

    assert asked_words(dataset, without={"q0", "q2"}) == {"sofa": ("red", "seat")}


def test_dataset_without_judgements_has_no_words(shop: Shop) -> None:
    assert asked_words(shop()) == {}
    assert asked_words(shop(("red couch", "train", {}))) == {}


def test_title_is_followed_by_the_words_that_it_does_not_say() -> None:
    words = ("red", "t-shirt", "cotton")

    assert expanded_title(" Cotton Tee ", words) == "Cotton Tee red t-shirt"
    assert expanded_title("", words) == "red t-shirt cotton"
    assert expanded_title("RED cotton T-Shirt", words) == "RED cotton T-Shirt"
    assert expanded_title("Tee", ()) == "Tee"


@given(
    st.text(max_size=40), st.lists(st.from_regex(r"[a-z0-9]{1,6}(-[a-z]{1,4})?", fullmatch=True))
)
def test_expanded_title_says_everything_once_and_nothing_more_the_second_time(
    title: str, words: list[str]
) -> None:
    words = list(dict.fromkeys(words))
    expanded = expanded_title(title, words)

    assert expanded.startswith(title.strip())
    assert lacking_words(words, expanded) == ()
    assert expanded_title(expanded, words) == expanded


def test_content_of_a_product_changes_with_its_words_and_with_nothing_elses(shop: Shop) -> None:
    before = shop(("red couch", "train", {"sofa": 1}), ("bulb", "train", {"lamp": 1}))
    after = shop(("red seat", "train", {"sofa": 1}), ("lamp", "validation", {"lamp": 1}))

    plain = [product_contents(dataset).to_pylist() for dataset in (before, after)]
    worded = [product_contents(data, asked_words(data)).to_pylist() for data in (before, after)]

    assert plain[0] == plain[1]
    assert [one == other for one, other in zip(*worded, strict=True)] == [False, False, True]
    assert worded[0][2] == plain[0][2]  # the vase, which nobody asked for
