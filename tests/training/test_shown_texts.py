"""No query in training sees product texts with its own words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmr.config.training import QueryBatchSettings
from mmr.training.data import JudgedQueries, QueryBatches
from mmr.training.shown_texts import ShownTexts, query_folds
from mmr.training.text_source import KeptText
from tests.training.small_objectives import OBJECTIVES

Judged = Callable[..., JudgedQueries]
SETTINGS = QueryBatchSettings(queries=4, positives=2, negatives=3)


def with_spellings(judged: JudgedQueries, same: list[int]) -> JudgedQueries:
    return JudgedQueries(
        judged.queries, judged.query_ids, np.asarray(same, dtype=np.int64), judged.grades
    )


def test_spellings_of_a_query_are_in_the_same_fold(random_judged: Judged) -> None:
    judged = with_spellings(random_judged(10, 30), [0, 1, 0, 2, 1, 3, 4, 0, 3, 2])

    folds = query_folds(judged, count=4, seed=3)

    assert folds is not None
    for group in range(5):
        assert len(set(folds[judged.same_query == group])) == 1
    sizes = np.bincount([folds[judged.same_query == group][0] for group in range(5)])
    assert sorted(sizes.tolist()) == [1, 1, 1, 2]
    np.testing.assert_array_equal(folds, query_folds(judged, count=4, seed=3))


def test_one_query_in_several_spellings_cannot_be_parted(random_judged: Judged) -> None:
    assert query_folds(with_spellings(random_judged(3, 9), [0, 0, 0]), count=4, seed=3) is None


def test_fewer_queries_than_folds_are_a_fold_each(random_judged: Judged) -> None:
    folds = query_folds(with_spellings(random_judged(4, 9), [0, 1, 0, 2]), count=4, seed=3)

    assert folds is not None
    assert sorted(set(folds)) == [0, 1, 2]
    assert folds[0] == folds[2]


def test_batches_are_of_one_fold_in_turn_and_an_epoch_of_each_shows_every_query(
    random_judged: Judged,
) -> None:
    judged = random_judged(16, 30)
    folds = np.asarray([0, 1, 2, 2] * 4)
    batches = QueryBatches(judged, products=30, settings=SETTINGS, seed=3, folds=folds)

    drawn = [batches(step) for step in range(6)]

    assert [batch.fold for batch in drawn] == [0, 1, 2, 0, 1, 2]
    for batch in drawn:
        assert set(folds[batch.queries]) == {batch.fold}
        assert (judged.grades[batch.queries][:, batch.products].toarray().max(axis=1) > 0).all()
    of_last = np.concatenate([batch.queries for batch in drawn if batch.fold == 2])
    assert sorted(of_last) == np.flatnonzero(folds == 2).tolist()


def test_sub_batches_of_a_category_stay_within_a_fold(random_judged: Judged) -> None:
    folds = np.repeat([0, 1], 8)
    categories = np.tile(np.repeat([0, 1], 4), 2).astype(np.int64)
    batches = QueryBatches(
        random_judged(16, 30),
        products=30,
        settings=QueryBatchSettings(queries=4, positives=1, negatives=1, category_queries=4),
        seed=3,
        categories=categories,
        folds=folds,
    )

    for step in range(8):
        batch = batches(step)
        assert set(folds[batch.queries]) == {step % 2}
        assert len(set(categories[batch.queries])) == 1


def test_without_folds_a_batch_has_no_fold(random_judged: Judged) -> None:
    batch = QueryBatches(random_judged(10, 30), products=30, settings=SETTINGS, seed=3)(1)

    assert batch.fold is None


def test_each_fold_is_shown_its_own_texts_and_nobody_else_is() -> None:
    shown = ShownTexts.parted(
        ["a red", "b", "c blue"], np.asarray([0, 1]), [["a", "b", "c blue"], ["a red", "b", "c"]]
    )
    features = torch.arange(len(shown.texts)).unsqueeze(1).float()
    kept = KeptText(torch.zeros(2, 1), features, places=shown.places)
    rows = np.asarray([2, 0, 1])

    def texts(fold: int | None) -> list[str]:
        return [shown.texts[int(place)] for place in kept.products(rows, fold=fold)[:, 0]]

    assert shown.products == 3
    assert len(shown.texts) == 5  # what a fold sees unchanged is not there twice
    assert texts(None) == ["c blue", "a red", "b"]
    assert texts(0) == ["c blue", "a", "b"]
    assert texts(1) == ["c", "a red", "b"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_of_a_batch_reads_the_texts_of_its_fold_alone(
    tiny_shop: Any, objective: str
) -> None:
    count = 3
    folds = np.arange(12) % count
    places = np.arange(count * 40).reshape(count, 40) + 40

    def loss(fold: int, readable: int | None) -> torch.Tensor:
        texts = torch.full((40 + places.size, 16), torch.nan)  # the catalogue's first
        texts[slice(0, 40) if readable is None else torch.from_numpy(places[readable])] = 1.0
        text = KeptText(torch.randn(12, 16), texts, places=places)
        inputs = replace(tiny_shop.inputs, text=text, folds=folds)
        step = OBJECTIVES[objective](replace(tiny_shop, inputs=inputs))
        batch = step.batch(fold)
        assert batch.fold == fold
        return step.batch_loss(batch, batch.targets)  # mining reads the catalogue's texts

    for fold in range(count):
        assert loss(fold, readable=fold).isfinite()
        assert loss(fold, readable=(fold + 1) % count).isnan()
        assert loss(fold, readable=None).isnan()
