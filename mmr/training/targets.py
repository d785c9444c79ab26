"""What the scores of a batch should become: positives, negatives, and cells that are neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from mmr.config.techniques import MaskingSettings, SiblingProducts, TechniqueSettings
from mmr.training.data import Catalogue, JudgedQueries
from mmr.training.scorers import Scorer
from mmr.training.siblings import Siblings
from mmr.training.sparse import dense_block
from mmr.types import Int64Array


@dataclass(frozen=True)
class Targets:
    """How the queries and products of a batch belong together.

    Attributes:
        grades: `(queries, products)` int64; above 0 is a positive.
        ignored: `(queries, products)` bool, cells that are no negatives; None where there are none.
        teacher: `(queries, products)` float, what a teacher makes of them, NaN where it has no
            opinion; None without a teacher.
    """

    grades: Tensor
    ignored: Tensor | None = None
    teacher: Tensor | None = None

    def of(self, products: Tensor) -> Targets:
        """The same for some of the products, `(products,)` bool; single losses have no teacher."""
        ignored = None if self.ignored is None else self.ignored[:, products]
        return Targets(self.grades[:, products], ignored)

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        moved = (
            None if value is None else value.to(device) for value in (self.ignored, self.teacher)
        )
        return Targets(self.grades.to(device), *moved)


class TargetRules:
    """Tells positives, negatives and neither apart by judgements, texts, siblings and a guide.

    A judgement beats every rule: a cell that was judged is never ignored.

    Args:
        judged: Training queries.
        catalogue: All products.
        settings: Which rules hold.
        siblings: For Keyword Enhancement.
        guide: Scores for the margin rule.
        teacher: Whose opinion is handed on.

    Attributes:
        never_mined: `(queries, products)` sparse, bool: ignored cells, known beforehand.

    Source: masks of the same product, query or text are our reading of false-negative masking in
    batches; the guide is GISTEmbed's (arXiv:2402.16829), its margin that of Qwen3-VL-Embedding
    (technical report, section 5.1), with the mean of the positives in place of the only one.
    Positives of sibling queries: MAKE (arXiv:2301.12646), Keyword Enhancement, our reading.
    """

    def __init__(
        self,
        judged: JudgedQueries,
        catalogue: Catalogue,
        *,
        settings: TechniqueSettings,
        siblings: Siblings | None,
        guide: Scorer | None,
        teacher: Scorer | None,
    ) -> None:
        self._margin = settings.masking.guide_margin
        self._guide, self._teacher = guide, teacher
        self._grades: csr_array = judged.grades
        self.never_mined = _same_cells(judged, catalogue, settings.masking)
        kind = settings.keyword_enhancement.sibling_products
        if siblings is not None and kind is not SiblingProducts.NEGATIVES:
            reached = siblings.grades()
            if kind is SiblingProducts.POSITIVES:
                self._grades = _first_of(judged.grades, reached)
            self.never_mined = _either(self.never_mined, reached > 0)

    def __call__(self, queries: Int64Array, products: Int64Array) -> Targets:
        """The targets of a batch.

        Args:
            queries: `(queries,)`, rows.
            products: `(products,)`, rows, ascending, each once.
        """
        grades = torch.from_numpy(
            dense_block(self._grades, queries, products).astype(np.int64, copy=False)
        )
        ignored = None
        if self.never_mined is not None:
            ignored = torch.from_numpy(dense_block(self.never_mined, queries, products))
        if self._guide is not None and self._margin is not None:
            likely = likely_positives(
                self._guide.scores(queries, products), grades, margin=self._margin
            )
            ignored = likely if ignored is None else ignored | likely
        teacher = None if self._teacher is None else self._teacher.scores(queries, products)
        return Targets(grades, None if ignored is None else ignored & (grades == 0), teacher)


def likely_positives(guide: Tensor, grades: Tensor, *, margin: float) -> Tensor:
    """Cells that a guide scores above the row's best-graded positives.

    Args:
        guide: `(queries, products)`, scores.
        grades: `(queries, products)`, int.
        margin: How far above the mean of these positives a score has to be.

    Returns:
        `(queries, products)`, bool; a row without a positive has none.
    """
    best = (grades > 0) & (grades == grades.amax(1, keepdim=True))
    mean = torch.where(best, guide, 0.0).sum(1, keepdim=True) / best.sum(1, keepdim=True)
    return guide > mean + margin  # without a positive the mean is NaN, and nothing is above it


def _same_cells(
    judged: JudgedQueries, catalogue: Catalogue, settings: MaskingSettings
) -> csr_array | None:
    """Cells that the same query, or a product of the same text, has a judgement for."""
    cells: csr_array | None = None
    relevant = (judged.grades > 0).astype(np.int32)
    if settings.same_query:
        member = _membership(judged.same_query)
        cells = _either(cells, (member @ (member.T @ relevant)) > 0)
    if settings.same_text:
        member = _membership(np.where(catalogue.has_text, catalogue.text_groups, -1))
        cells = _either(cells, ((relevant @ member) @ member.T) > 0)
    return cells


def _membership(groups: Int64Array) -> csr_array:
    """`(rows, groups)`, 0 or 1; a row of group -1 is in none."""
    rows = np.flatnonzero(groups >= 0)
    ones = np.ones(len(rows), dtype=np.int32)
    return csr_array((ones, (rows, groups[rows])), shape=(len(groups), int(groups.max()) + 1))


def _first_of(grades: csr_array, others: csr_array) -> csr_array:
    """The grades, and the others where there is none."""
    fresh = others - others.multiply(grades > 0)
    return csr_array(grades + fresh)


def _either(cells: csr_array | None, more: csr_array) -> csr_array:
    more = csr_array(more)
    return more if cells is None else csr_array((cells + more) > 0)
