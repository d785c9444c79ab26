"""No query in training sees product texts with its own words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmr.config.training import QueryBatchSettings
from mmr.training.data import JudgedQueries, QueryBatches
from mmr.training.shown_texts import ShownTexts, query_halves
from mmr.training.text_source import KeptText
from tests.training.small_objectives import OBJECTIVES

Judged = Callable[..., JudgedQueries]
SETTINGS = QueryBatchSettings(queries=4, positives=2, negatives=3)


def with_spellings(judged: JudgedQueries, same: list[int]) -> JudgedQueries:
    return JudgedQueries(
        judged.queries, judged.query_ids, np.asarray(same, dtype=np.int64), judged.grades
    )


def test_spellings_of_a_query_are_in_the_same_half(random_judged: Judged) -> None:
    judged = with_spellings(random_judged(10, 30), [0, 1, 0, 2, 1, 3, 4, 0, 3, 2])

    halves = query_halves(judged, seed=3)

    assert halves is not None
    for group in range(5):
        assert len(set(halves[judged.same_query == group])) == 1
    assert abs(int(np.sum([halves[judged.same_query == group][0] for group in range(5)])) - 2) <= 1
    np.testing.assert_array_equal(halves, query_halves(judged, seed=3))


def test_one_query_in_several_spellings_cannot_be_parted(random_judged: Judged) -> None:
    assert query_halves(with_spellings(random_judged(3, 9), [0, 0, 0]), seed=3) is None


def test_batches_are_of_one_half_in_turn_and_an_epoch_of_each_shows_every_query(
    random_judged: Judged,
) -> None:
    judged = random_judged(16, 30)
    halves = np.asarray([0, 1] * 8)
    batches = QueryBatches(judged, products=30, settings=SETTINGS, seed=3, halves=halves)

    drawn = [batches(step) for step in range(4)]

    assert [batch.half for batch in drawn] == [0, 1, 0, 1]
    for batch in drawn:
        assert set(halves[batch.queries]) == {batch.half}
        assert (judged.grades[batch.queries][:, batch.products].toarray().max(axis=1) > 0).all()
    assert sorted(np.concatenate([batch.queries for batch in drawn])) == list(range(16))


def test_sub_batches_of_a_category_stay_within_a_half(random_judged: Judged) -> None:
    halves = np.repeat([0, 1], 8)
    categories = np.tile(np.repeat([0, 1], 4), 2).astype(np.int64)
    batches = QueryBatches(
        random_judged(16, 30),
        products=30,
        settings=QueryBatchSettings(queries=4, positives=1, negatives=1, category_queries=4),
        seed=3,
        categories=categories,
        halves=halves,
    )

    for step in range(8):
        batch = batches(step)
        assert set(halves[batch.queries]) == {step % 2}
        assert len(set(categories[batch.queries])) == 1


def test_without_halves_a_batch_has_no_half(random_judged: Judged) -> None:
    batch = QueryBatches(random_judged(10, 30), products=30, settings=SETTINGS, seed=3)(1)

    assert batch.half is None


def test_each_half_is_shown_its_own_texts_and_nobody_else_is() -> None:
    shown = ShownTexts.parted(
        ["a red", "b", "c blue"], np.asarray([0, 1]), [["a", "b", "c blue"], ["a red", "b", "c"]]
    )
    features = torch.arange(len(shown.texts)).unsqueeze(1).float()
    kept = KeptText(torch.zeros(2, 1), features, places=shown.places)
    rows = np.asarray([2, 0, 1])

    def texts(half: int | None) -> list[str]:
        return [shown.texts[int(place)] for place in kept.products(rows, half=half)[:, 0]]

    assert shown.products == 3
    assert len(shown.texts) == 5  # what a half sees unchanged is not there twice
    assert texts(None) == ["c blue", "a red", "b"]
    assert texts(0) == ["c blue", "a", "b"]
    assert texts(1) == ["c", "a red", "b"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_of_a_batch_reads_the_texts_of_its_half_alone(
    tiny_shop: Any, objective: str
) -> None:
    halves = np.arange(12) % 2
    places = np.arange(80).reshape(2, 40) + 40

    def loss(half: int, readable: int | None) -> torch.Tensor:
        texts = torch.full((120, 16), torch.nan)  # the catalogue's, then those shown to each half
        texts[slice(0, 40) if readable is None else torch.from_numpy(places[readable])] = 1.0
        text = KeptText(torch.randn(12, 16), texts, places=places)
        inputs = replace(tiny_shop.inputs, text=text, halves=halves)
        step = OBJECTIVES[objective](replace(tiny_shop, inputs=inputs))
        batch = step.batch(half)
        assert batch.half == half
        return step.batch_loss(batch, batch.targets)  # mining reads the catalogue's texts

    for half in (0, 1):
        assert loss(half, readable=half).isfinite()
        assert loss(half, readable=1 - half).isnan()
        assert loss(half, readable=None).isnan()
