"""Losses as pure functions of score matrices and grades."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


def graded_contrastive_loss(
    scores: Tensor,
    grades: Tensor,
    *,
    grade_weights: Mapping[int, float],
    ignored: Tensor | None = None,
) -> Tensor:
    """Multi-positive contrastive loss with graded relevance.

    Every judged product of a query is a positive that competes only with products of a lower
    grade; products of its own grade or a better one are no negatives (false-negative masking).
    Per grade the positives' losses are averaged, then the grades are averaged with their weights.

        L_q = sum_g w_g mean_{j: grade g} -log(e^{s_qj} / (e^{s_qj} + sum_{k below g} e^{s_qk}))

    With one positive per row and all scores equal, the loss is `log(columns)`.

    Args:
        scores: `(rows, columns)`, scaled cosine similarities.
        grades: `(rows, columns)`, int; 0 is not judged. A row without a positive counts nothing.
        grade_weights: Weight of each grade that is not the best one of its row; the best one
            weighs 1. A grade that is not named weighs 1.
        ignored: `(rows, columns)`, bool: cells that compete with no positive; None where all do.

    Returns:
        A scalar, the mean over rows with a positive; 0 when there is none.

    Source: multi-positive masking after MAKE's Keyword Enhancement (arXiv:2301.12646, our reading)
    and graded weights after GCL (arXiv:2404.08535); the level-wise form is our reading.
    """
    best = grades.amax(dim=1)
    total = scores.new_zeros(len(scores))
    weight_sum = scores.new_zeros(len(scores))
    row, column = grades.nonzero(as_tuple=True)  # few: losses are taken where grades are
    judged = grades[row, column]
    for level in torch.unique(judged).tolist():
        silent = grades >= level if ignored is None else (grades >= level) | ignored
        negatives = scores.masked_fill(silent, float("-inf")).logsumexp(1)
        at_level = judged == level
        rows, columns = row[at_level], column[at_level]
        # -log(e^s / (e^s + sum e^n))
        losses = torch.nn.functional.softplus(negatives[rows] - scores[rows, columns])
        count = torch.bincount(rows, minlength=len(scores))
        mean = torch.zeros_like(total).index_add(0, rows, losses.to(total)) / count.clamp(min=1)
        weight = torch.where(best == level, 1.0, grade_weights.get(level, 1.0)) * (count > 0)
        total = total + weight * mean
        weight_sum = weight_sum + weight
    counted = weight_sum > 0
    if not bool(counted.any()):
        return scores.sum() * 0.0
    return (total[counted] / weight_sum[counted]).mean()


def query_product_loss(
    queries: Tensor,
    products: Tensor,
    grades: Tensor,
    *,
    scale: Tensor,
    grade_weights: Mapping[int, float],
    ignored: Tensor | None = None,
) -> Tensor:
    """Graded contrastive loss in both directions: each query ranks products, and the reverse.

    Args:
        queries: `(queries, dim)`, unit length.
        products: `(products, dim)`, unit length.
        grades: `(queries, products)`, int.
        scale: Scalar, 1 / temperature.
        grade_weights: See `graded_contrastive_loss`.
        ignored: `(queries, products)`, bool; see `graded_contrastive_loss`.
    """
    scores = scale * queries @ products.T
    forward = graded_contrastive_loss(scores, grades, grade_weights=grade_weights, ignored=ignored)
    backward = graded_contrastive_loss(
        scores.T,
        grades.T,
        grade_weights=grade_weights,
        ignored=None if ignored is None else ignored.T,
    )
    return 0.5 * (forward + backward)


def pair_contrastive_loss(left: Tensor, right: Tensor, same: Tensor, *, scale: Tensor) -> Tensor:
    """Symmetric contrastive loss of aligned pairs (CLIP), other true pairs being no negatives.

    With all scores equal and no other true pairs the loss is `log(batch)`.

    Args:
        left: `(batch, dim)`, unit length; row i belongs to row i of `right`.
        right: As `left`.
        same: `(batch, batch)`, bool: whether row i of one may as well pair with row j of the
            other, such as two products of the same text. The diagonal is ignored.
        scale: Scalar, 1 / temperature.

    Source: CLIP (arXiv:2103.00020); the mask is our reading of false-negative masking.
    """
    own = torch.eye(len(left), dtype=torch.bool, device=left.device)
    scores = (scale * left @ right.T).masked_fill(same & ~own, float("-inf"))
    target = torch.arange(len(left), device=left.device)
    forward = torch.nn.functional.cross_entropy(scores, target)
    backward = torch.nn.functional.cross_entropy(scores.T, target)
    return 0.5 * (forward + backward)


def distillation_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """How far the softmax of scores is from a teacher's, row by row: KL(teacher || student).

    Only cells that the teacher has an opinion on take part; it is 0 when both agree on them.

    Args:
        scores: `(queries, products)`, scaled cosine similarities.
        teacher: `(queries, products)`, the teacher's logits; NaN where it has no opinion.

    Returns:
        A scalar, the mean over rows with two opinions at least; 0 when there is none.

    Source: Qwen3-VL-Embedding (technical report, section 5), whose cross-entropy differs from this
    by the teacher's entropy, a constant.
    """
    known = ~teacher.isnan()
    rows = known.sum(1) > 1
    if not bool(rows.any()):
        return scores.sum() * 0.0
    known = known[rows]
    student = scores[rows].float().masked_fill(~known, float("-inf")).log_softmax(1)
    wanted = teacher[rows].float().masked_fill(~known, float("-inf")).log_softmax(1)
    divergence = torch.where(known, wanted.exp() * (wanted - student), 0.0)
    return divergence.sum(1).mean()


def over_prefixes(
    loss: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor, *, dims: Sequence[int]
) -> Tensor:
    """The sum of a loss over whole embeddings and over their first dimensions (Matryoshka).

    Args:
        loss: Of two sets of embeddings of unit length, a scalar.
        left: `(rows, dim)`, unit length.
        right: `(others, dim)`, unit length.
        dims: Lengths of the prefixes, each brought to unit length anew.

    Source: Matryoshka Representation Learning (arXiv:2205.13147), all weights 1.
    """
    total = loss(left, right)
    for dim in dims:
        total = total + loss(
            torch.nn.functional.normalize(left[:, :dim], dim=-1),
            torch.nn.functional.normalize(right[:, :dim], dim=-1),
        )
    return total
