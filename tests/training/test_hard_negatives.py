from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from mmr.config.techniques import HardNegativeSettings
from mmr.training.data import JudgedQueries
from mmr.training.feed import AHEAD
from mmr.training.hard_negatives import LAG, HardNegatives
from mmr.types import Int64Array

SETTINGS = HardNegativeSettings(count=3, ceiling=0.9, depth=5, every=10, pool=1000)
MakeJudged = Callable[..., JudgedQueries]


def random_embeddings(queries: int, products: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    both = torch.randn(queries + products, 6, generator=random) + 0.6
    unit = torch.nn.functional.normalize(both, dim=-1)
    return unit[:queries], unit[queries:]


def embedder(queries: Tensor, products: Tensor) -> Callable[[Int64Array], tuple[Tensor, Tensor]]:
    return lambda rows: (queries, products[torch.from_numpy(rows)])


def slowly_mined(
    scores: np.ndarray, grades: np.ndarray, settings: HardNegativeSettings
) -> list[list[int]]:
    """The docstring with loops; at most four best-graded positives a query, so all are anchors."""
    mined = []
    for row, judged in zip(scores, grades, strict=True):
        best = [j for j, grade in enumerate(judged) if grade == judged.max()]
        mean = float(np.mean([row[j] for j in best]))
        limit = settings.ceiling * mean if mean > 0 else (2 - settings.ceiling) * mean
        below = [j for j, grade in enumerate(judged) if grade == 0 and row[j] < limit]
        mined.append(sorted(below, key=lambda j: -row[j])[: settings.depth])
    return mined


def few_positives(queries: int, products: int) -> np.ndarray:
    random = np.random.default_rng(0)
    grades = np.zeros((queries, products), dtype=np.int64)
    for row in range(queries):
        judged = random.choice(products, 5, replace=False)
        grades[row, judged] = [2, 2, 2, 1, 1]
    return grades


@pytest.mark.parametrize("ceiling", [0.5, 0.9, 1.0, 1.2])
def test_mining_finds_the_best_scored_products_below_the_ceiling(
    make_judged: MakeJudged, ceiling: float
) -> None:
    grades = few_positives(9, 40)
    queries, products = random_embeddings(9, 40)
    settings = SETTINGS.model_copy(update={"ceiling": ceiling})
    mined = HardNegatives(make_judged(grades).grades, never=None, settings=settings, seed=3)

    mined.mine(embedder(queries, products), step=0)

    expected = slowly_mined((queries @ products.T).numpy(), grades, settings)
    found = [[j for j in row if j >= 0] for row in mined.tables[0].tolist()]
    assert found == expected
    assert any(found)


def test_the_ceiling_lies_below_a_negative_positive_score_too(make_judged: MakeJudged) -> None:
    query = torch.tensor([[1.0, 0.0]])
    products = torch.tensor([[-0.6, 0.8], [-0.5, 0.87], [-0.7, 0.71]])
    grades = np.array([[1, 0, 0]])
    mined = HardNegatives(make_judged(grades).grades, never=None, settings=SETTINGS, seed=3)

    mined.mine(embedder(query, products), step=0)

    assert mined.tables[0, 0].tolist() == [2, -1, -1, -1, -1]  # below -0.66, not -0.5


def test_cells_that_are_no_negatives_are_never_mined(make_judged: MakeJudged) -> None:
    grades = few_positives(9, 40)
    queries, products = random_embeddings(9, 40)
    plain = HardNegatives(make_judged(grades).grades, never=None, settings=SETTINGS, seed=3)
    plain.mine(embedder(queries, products), step=0)
    never = np.zeros((9, 40), dtype=np.bool_)
    never[4, plain.tables[0, 4, 0]] = True
    masked = HardNegatives(
        make_judged(grades).grades, never=csr_array(never), settings=SETTINGS, seed=3
    )

    masked.mine(embedder(queries, products), step=0)

    assert int(plain.tables[0, 4, 0]) not in masked.tables[0, 4].tolist()
    assert masked.tables[0, 3].tolist() == plain.tables[0, 3].tolist()


def test_a_pool_smaller_than_the_catalogue_is_drawn_anew_by_seed_and_step(
    make_judged: MakeJudged,
) -> None:
    grades = few_positives(9, 200)
    queries, products = random_embeddings(9, 200)
    settings = SETTINGS.model_copy(update={"pool": 30})
    asked: list[Int64Array] = []

    def embed(rows: Int64Array) -> tuple[Tensor, Tensor]:
        asked.append(rows)
        return embedder(queries, products)(rows)

    mined = HardNegatives(make_judged(grades).grades, never=None, settings=settings, seed=3)
    for step in (0, 10, 10):
        mined.mine(embed, step=step)

    assert all(
        30 <= len(rows) <= 30 + 9 * 4 for rows in asked
    )  # the pool, and positives to compare
    assert asked[0].tolist() != asked[1].tolist()
    assert asked[1].tolist() == asked[2].tolist()
    assert set(mined.tables[1].unique().tolist()) - {-1} <= set(asked[1].tolist())


def test_draws_come_from_the_table_that_was_mined_before_the_batch_could_be_made(
    make_judged: MakeJudged,
) -> None:
    grades = few_positives(9, 40)
    mined = HardNegatives(make_judged(grades).grades, never=None, settings=SETTINGS, seed=3)
    rows = np.arange(9, dtype=np.int64)
    for step, seed in ((0, 1), (10, 2)):
        mined.mine(embedder(*random_embeddings(9, 40, seed)), step=step)
    tables = [set(table.unique().tolist()) - {-1} for table in mined.tables]

    assert LAG > AHEAD
    assert mined.draw(rows, LAG - 1).tolist() == []
    assert set(mined.draw(rows, LAG).tolist()) <= tables[0]
    assert set(mined.draw(rows, 10 + LAG - 1).tolist()) <= tables[0]
    later = set(mined.draw(rows, 10 + LAG).tolist())
    assert later <= tables[1]
    assert not later <= tables[0]
    assert mined.draw(rows, 12).tolist() == mined.draw(rows, 12).tolist()
    assert mined.draw(rows, 12).tolist() != mined.draw(rows, 13).tolist()


def test_a_query_for_which_nothing_was_found_draws_nothing(make_judged: MakeJudged) -> None:
    query, products = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.9, 0.44]])
    mined = HardNegatives(
        make_judged(np.array([[1, 0]])).grades, never=None, settings=SETTINGS, seed=3
    )

    mined.mine(embedder(query, products), step=0)

    assert mined.draw(np.array([0]), LAG).tolist() == []
