from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmr.config.techniques import KeywordSettings
from mmr.training.data import JudgedQueries
from mmr.training.siblings import Siblings, enriched

MakeJudged = Callable[..., JudgedQueries]


def slow_overlaps(grades: np.ndarray, settings: KeywordSettings) -> dict[tuple[int, int], float]:
    """Jaccard overlaps of best-graded products, by sets."""
    best = [{j for j, grade in enumerate(row) if grade == row.max()} for row in grades]
    found = {}
    for query, mine in enumerate(best):
        overlaps = {
            other: len(mine & theirs) / len(mine | theirs)
            for other, theirs in enumerate(best)
            if other != query and mine & theirs
        }
        kept = [o for o in overlaps if overlaps[o] >= settings.min_overlap]
        for other in sorted(kept, key=lambda o: (-overlaps[o], o))[: settings.most]:
            found[query, other] = overlaps[other]
    return found


@pytest.mark.parametrize(("most", "min_overlap"), [(16, 0.0), (2, 0.0), (16, 0.15)])
def test_siblings_are_the_queries_that_share_best_graded_products(
    random_judged: MakeJudged, most: int, min_overlap: float
) -> None:
    judged = random_judged(20, 30)
    settings = KeywordSettings(enrichment=0.5, most=most, min_overlap=min_overlap)

    overlaps = Siblings(judged.grades, settings=settings, seed=0).overlaps.tocoo()

    found = dict(zip(zip(overlaps.row, overlaps.col, strict=True), overlaps.data, strict=True))
    expected = slow_overlaps(judged.grades.toarray(), settings)
    assert found == pytest.approx(expected)
    assert expected


def test_siblings_judgements_are_united_with_the_best_grade_winning(
    make_judged: MakeJudged,
) -> None:
    judged = make_judged(np.array([[3, 0, 0, 0], [3, 1, 0, 2], [3, 2, 1, 0], [0, 0, 0, 1]]))

    reached = Siblings(judged.grades, settings=KeywordSettings(enrichment=0.5), seed=0).grades()

    assert reached.toarray().tolist() == [[3, 2, 1, 2], [3, 2, 1, 0], [3, 1, 0, 2], [0, 0, 0, 0]]


def test_draws_are_siblings_by_seed_and_step_and_none_where_there_is_none(
    make_judged: MakeJudged,
) -> None:
    judged = make_judged(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]))
    siblings = Siblings(judged.grades, settings=KeywordSettings(enrichment=0.5, drawn=3), seed=2)
    queries = np.array([3, 1, 0])

    drawn = siblings.draw(queries, step=4)

    assert drawn.shape == (3, 3)
    assert drawn[0].tolist() == [-1, -1, -1]
    assert set(drawn[2].tolist()) == {1}
    seen = {int(row) for step in range(20) for row in siblings.draw(queries, step=step)[1]}
    assert seen == {0, 2}
    assert drawn.tolist() == siblings.draw(queries, step=4).tolist()


def test_enrichment_is_the_mean_of_the_query_and_its_siblings_mean() -> None:
    torch.manual_seed(0)
    queries = F.normalize(torch.randn(3, 5), dim=-1)
    siblings = F.normalize(torch.randn(3, 2, 5), dim=-1)
    known = torch.tensor([[True, True], [True, False], [False, False]])

    mixed = enriched(queries, siblings, known=known, weight=0.5)

    first = 0.5 * (queries[0] + 0.5 * (siblings[0, 0] + siblings[0, 1]))
    second = 0.5 * (queries[1] + siblings[1, 0])
    expected = torch.stack([first / first.norm(), second / second.norm(), queries[2]])
    torch.testing.assert_close(mixed, expected)
