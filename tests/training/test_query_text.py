import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.techniques import QueryTextSettings
from mmr.data.showroom.vocabulary import COLOURS
from mmr.training.query_text import COLOUR_WORDS, drawn_wordings, wordings

HARSH = QueryTextSettings(wordings=3, drop=0.9, swap=0.5)


@given(
    queries=st.lists(st.text(alphabet="abc  RED,red-é", max_size=30), min_size=1, max_size=8),
    drop=st.floats(0, 1),
    swap=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_a_wording_has_words_of_its_query_and_is_never_empty_unless_the_query_is(
    queries: list[str], drop: float, swap: float, seed: int
) -> None:
    settings = QueryTextSettings(wordings=2, drop=drop, swap=swap)

    for texts in wordings(queries, settings=settings, seed=seed):
        for query, text in zip(queries, texts, strict=True):
            left, words = text.split(), query.split()
            for word in set(left):
                assert left.count(word) <= words.count(word)
            assert bool(left) == bool(words)


def test_colour_words_are_never_dropped() -> None:
    query = "Crimson velvet sofa, navy-blue cushions (grey) for the red room"

    seen = [text for seed in range(30) for (text,) in wordings([query], settings=HARSH, seed=seed)]

    for text in seen:
        assert {"Crimson", "(grey)", "red"} <= set(text.split())
    assert any(len(text.split()) < 6 for text in seen)


def test_words_of_another_language_can_be_kept_too() -> None:
    settings = HARSH.model_copy(update={"kept_words": ("Rot",)})

    seen = [
        text
        for seed in range(30)
        for (text,) in wordings(["rot sofa samt stoff"], settings=settings, seed=seed)
    ]

    assert all("rot" in text.split() for text in seen)


def test_without_dropping_and_swapping_a_query_stays_as_it_is() -> None:
    settings = QueryTextSettings(wordings=1, drop=0, swap=0)

    assert wordings(["red  sofa", "a b c"], settings=settings, seed=1) == [["red sofa", "a b c"]]


def test_words_change_places() -> None:
    settings = QueryTextSettings(wordings=1, drop=0, swap=1)

    assert wordings(["red velvet sofa"], settings=settings, seed=1) == [["velvet sofa red"]]


def test_wordings_depend_on_seed_and_row_alone() -> None:
    queries = [f"red velvet sofa number {row} with armrests" for row in range(6)]

    first = wordings(queries, settings=HARSH, seed=1)

    assert first == wordings(queries, settings=HARSH, seed=1)
    assert first != wordings(queries, settings=HARSH, seed=2)
    assert [texts[:4] for texts in first] == wordings(queries[:4], settings=HARSH, seed=1)


def test_the_share_of_queries_is_worded_otherwise_by_seed_and_step() -> None:
    rows = np.arange(4_000)
    settings = QueryTextSettings(wordings=3, share=0.25)

    drawn = drawn_wordings(rows, settings=settings, seed=1, step=2)

    assert set(drawn.tolist()) == {0, 1, 2, 3}
    assert abs(np.mean(drawn > 0) - 0.25) < 0.03
    again = drawn_wordings(rows, settings=settings, seed=1, step=2)
    np.testing.assert_array_equal(drawn, again)
    assert (drawn != drawn_wordings(rows, settings=settings, seed=1, step=3)).any()


def test_every_colour_of_the_demo_catalogue_is_known() -> None:
    words = {word for colour in COLOURS for text in colour.words for word in text.split()}
    modifiers = {"snow", "pure", "jet", "slate", "forest", "royal", "midnight"}

    assert words - modifiers <= COLOUR_WORDS
