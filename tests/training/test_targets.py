from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mmr.config.techniques import KeywordSettings, MaskingSettings, TechniqueSettings
from mmr.training.data import Catalogue, JudgedQueries
from mmr.training.scorers import EmbeddingScorer, Scorer, TableScorer
from mmr.training.siblings import Siblings
from mmr.training.targets import TargetRules, Targets, likely_positives

MakeJudged = Callable[..., JudgedQueries]
MakeCatalogue = Callable[..., Catalogue]

GRADES = np.array(
    [
        [2, 0, 0, 0, 1, 0],
        [0, 2, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 2, 0, 0],
    ]
)
QUERIES, PRODUCTS = np.arange(4), np.arange(6)


def rules(
    judged: JudgedQueries,
    catalogue: Catalogue,
    *,
    guide: Scorer | None = None,
    teacher: Scorer | None = None,
    masking: MaskingSettings | None = None,
    keywords: KeywordSettings | None = None,
) -> TargetRules:
    settings = TechniqueSettings(
        masking=masking or MaskingSettings(), keyword_enhancement=keywords or KeywordSettings()
    )
    siblings = None
    if settings.keyword_enhancement.needed:
        siblings = Siblings(judged.grades, settings=settings.keyword_enhancement, seed=0)
    return TargetRules(
        judged, catalogue, settings=settings, siblings=siblings, guide=guide, teacher=teacher
    )


def ignored_cells(targets: Targets) -> set[tuple[int, int]]:
    assert targets.ignored is not None
    return {(int(row), int(column)) for row, column in targets.ignored.nonzero()}


def test_products_with_the_text_of_a_relevant_one_are_no_negatives(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    catalogue = make_catalogue(6, [7, 8, 7, 8, 9, 3])
    wanted = rules(make_judged(GRADES), catalogue, masking=MaskingSettings(same_text=True))

    targets = wanted(QUERIES, PRODUCTS)

    assert ignored_cells(targets) == {(0, 2), (1, 3), (2, 0), (3, 1)}
    assert torch.equal(targets.grades, torch.from_numpy(GRADES))


def test_products_without_text_are_not_the_same_product(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    catalogue = make_catalogue(6, [7, 8, 7, 8, 9, 3])
    catalogue.has_text[[0, 2]] = False
    wanted = rules(make_judged(GRADES), catalogue, masking=MaskingSettings(same_text=True))

    assert ignored_cells(wanted(QUERIES, PRODUCTS)) == {(1, 3), (3, 1)}


def test_products_relevant_to_the_same_query_in_other_writing_are_no_negatives(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    judged = make_judged(GRADES, same_query=[0, 1, 1, 0])
    wanted = rules(judged, make_catalogue(6), masking=MaskingSettings(same_query=True))

    assert ignored_cells(wanted(QUERIES, PRODUCTS)) == {(0, 3), (3, 0), (3, 4), (1, 2), (2, 1)}


def test_masks_are_cut_to_the_batch(make_judged: MakeJudged, make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue(6, [7, 8, 7, 8, 9, 3])
    wanted = rules(make_judged(GRADES), catalogue, masking=MaskingSettings(same_text=True))

    targets = wanted(np.array([3, 0]), np.array([1, 2, 5]))

    assert ignored_cells(targets) == {(0, 0), (1, 1)}
    assert ignored_cells(targets.of(torch.tensor([False, True, True]))) == {(1, 0)}


def test_a_judgement_beats_every_rule(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    scorer = EmbeddingScorer(np.ones((4, 2), "f4"), np.ones((6, 2), "f4"))
    wanted = rules(
        make_judged(GRADES, same_query=[0, 0, 0, 0]),
        make_catalogue(6, [1, 1, 1, 1, 1, 1]),
        masking=MaskingSettings(same_text=True, same_query=True, guide_margin=0.0),
        guide=scorer,
    )

    targets = wanted(QUERIES, PRODUCTS)

    assert targets.ignored is not None
    assert torch.equal(targets.ignored, torch.from_numpy(GRADES) == 0)


def test_the_guide_masks_what_it_scores_above_the_positives_and_the_margin() -> None:
    guide = torch.tensor([[0.5, 0.7, 0.66, 0.6, 0.1], [0.9, 0.2, 0.3, 0.4, 0.5]])
    grades = torch.tensor([[2, 2, 0, 0, 1], [0, 0, 0, 0, 0]])

    assert likely_positives(guide, grades, margin=0.05).tolist() == [
        [False, True, True, False, False],  # above 0.6 + 0.05, the lower grade not counted
        [False] * 5,  # nothing to compare with
    ]


def test_the_guides_margin_reaches_the_batch(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    queries, products = np.eye(4, 4, dtype="f4"), np.zeros((6, 4), dtype="f4")
    products[:4] = 0.6 * np.eye(4)
    products[5, 1] = 0.8  # to query 1, product 5 looks more relevant than the judged one
    guide = EmbeddingScorer(queries, products)
    for margin, expected in ((0.1, {(1, 5)}), (0.3, set())):
        wanted = rules(
            make_judged(GRADES[:, :]),
            make_catalogue(6),
            masking=MaskingSettings(guide_margin=margin),
            guide=guide,
        )
        assert ignored_cells(wanted(QUERIES, PRODUCTS)) == expected


@pytest.mark.parametrize(
    ("kind", "grades", "ignored"),
    [
        ("ignored", [[2, 2, 0, 0], [0, 2, 2, 0], [0, 0, 1, 2]], {(0, 2), (1, 0), (1, 3), (2, 1)}),
        ("positives", [[2, 2, 2, 0], [2, 2, 2, 0], [0, 0, 1, 2]], set()),
        ("negatives", [[2, 2, 0, 0], [0, 2, 2, 0], [0, 0, 1, 2]], None),
    ],
)
def test_products_of_sibling_queries_are_what_the_setting_says(
    make_judged: MakeJudged,
    make_catalogue: MakeCatalogue,
    kind: str,
    grades: list[list[int]],
    ignored: set[tuple[int, int]] | None,
) -> None:
    judged = make_judged(np.array([[2, 2, 0, 0], [0, 2, 2, 0], [0, 0, 1, 2]]))
    keywords = KeywordSettings.model_validate({"sibling_products": kind})
    targets = rules(judged, make_catalogue(4), keywords=keywords)(np.arange(3), np.arange(4))

    assert targets.grades.tolist() == grades
    if kind == "ignored":  # the third query shares a lower grade alone: no sibling
        assert ignored_cells(targets) == {(0, 2), (1, 0)}
    elif ignored is None:
        assert targets.ignored is None
    else:
        assert ignored_cells(targets) == ignored


def test_a_siblings_grade_never_replaces_a_judgement(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    judged = make_judged(np.array([[2, 1, 0], [2, 2, 2]]))
    keywords = KeywordSettings.model_validate({"sibling_products": "positives"})

    targets = rules(judged, make_catalogue(3), keywords=keywords)(np.arange(2), np.arange(3))

    assert targets.grades.tolist() == [[2, 1, 2], [2, 2, 2]]


def test_a_table_of_scores_is_read_cell_by_cell_and_tells_zero_from_unknown() -> None:
    scorer = TableScorer(
        np.array([0, 0, 2]),
        np.array([3, 1, 2]),
        np.array([0.5, 0.0, -1.5], dtype="f4"),
        shape=(3, 4),
        drawn=1,
        seed=4,
    )

    scores = scorer.scores(np.array([2, 0, 1]), np.array([1, 2, 3]))

    expected = torch.tensor([[np.nan, -1.5, np.nan], [0.0, np.nan, 0.5], [np.nan] * 3])
    torch.testing.assert_close(scores, expected, equal_nan=True)
    drawn = {int(scorer.draw(np.array([0, 1]), step)[0]) for step in range(20)}
    assert drawn == {1, 3}
    assert all(len(scorer.draw(np.array([0, 1]), step)) == 1 for step in range(5))


def test_a_teachers_opinion_is_handed_on(
    make_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    queries: Tensor = torch.randn(4, 3)
    products: Tensor = torch.randn(6, 3)
    teacher = EmbeddingScorer(queries.numpy(), products.numpy())

    targets = rules(make_judged(GRADES), make_catalogue(6), teacher=teacher)(
        np.array([2, 1]), np.array([0, 5])
    )

    assert targets.teacher is not None
    torch.testing.assert_close(targets.teacher, queries[[2, 1]] @ products[[0, 5]].T)
    assert targets.of(torch.tensor([True, False])).teacher is None
