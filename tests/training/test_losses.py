import math

import pytest
import torch

from mmr.training.losses import graded_contrastive_loss, pair_contrastive_loss, query_product_loss


def slow_graded_loss(scores: list[list[float]], grades: list[list[int]], weights: dict) -> float:
    """The docstring's formula with nothing but loops."""
    rows = []
    for row_scores, row_grades in zip(scores, grades, strict=True):
        levels = sorted({grade for grade in row_grades if grade > 0})
        total = weight_sum = 0.0
        for level in levels:
            negatives = sum(
                math.exp(s) for s, g in zip(row_scores, row_grades, strict=True) if g < level
            )
            losses = [
                -math.log(math.exp(s) / (math.exp(s) + negatives))
                for s, g in zip(row_scores, row_grades, strict=True)
                if g == level
            ]
            weight = 1.0 if level == levels[-1] else weights.get(level, 1.0)
            total += weight * sum(losses) / len(losses)
            weight_sum += weight
        if levels:
            rows.append(total / weight_sum)
    return sum(rows) / len(rows) if rows else 0.0


@pytest.mark.parametrize(("queries", "products", "seed"), [(1, 2, 0), (5, 11, 1), (7, 3, 2)])
def test_graded_loss_equals_the_formula_written_as_loops(
    queries: int, products: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, products, generator=random) * 3
    grades = torch.randint(0, 3, (queries, products), generator=random)

    loss = graded_contrastive_loss(scores, grades, grade_weights={1: 0.3})

    expected = slow_graded_loss(scores.tolist(), grades.tolist(), {1: 0.3})
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_with_equal_scores_and_one_positive_the_loss_is_log_of_the_columns() -> None:
    grades = torch.zeros(3, 8, dtype=torch.int64)
    grades[:, 0] = 1

    loss = graded_contrastive_loss(torch.full((3, 8), 2.5), grades, grade_weights={})

    assert float(loss) == pytest.approx(math.log(8), rel=1e-5)


def test_another_relevant_product_is_no_negative() -> None:
    scores = torch.tensor([[1.0, 99.0, 0.0]])

    alone = graded_contrastive_loss(
        torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]]), grade_weights={}
    )
    beside = graded_contrastive_loss(scores, torch.tensor([[1, 1, 0]]), grade_weights={})

    assert float(beside) == pytest.approx(float(alone) / 2, rel=1e-4)  # the other's own loss is 0


def test_a_row_without_a_positive_counts_nothing_and_still_has_gradients() -> None:
    scores = torch.randn(2, 4, requires_grad=True)

    loss = graded_contrastive_loss(scores, torch.zeros(2, 4, dtype=torch.int64), grade_weights={})
    loss.backward()

    assert loss.item() == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_query_product_loss_falls_when_a_positive_pair_draws_closer() -> None:
    queries = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    far = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    grades = torch.eye(4, dtype=torch.int64)
    scale = torch.tensor(10.0)

    apart = query_product_loss(queries, far, grades, scale=scale, grade_weights={})
    together = query_product_loss(queries, queries, grades, scale=scale, grade_weights={})

    assert float(together) < float(apart)


def test_pair_loss_is_log_batch_at_equal_scores_and_masks_twins() -> None:
    same = torch.zeros(4, 4, dtype=torch.bool)
    ones = torch.nn.functional.normalize(torch.ones(4, 8), dim=-1)
    scale = torch.tensor(5.0)

    plain = pair_contrastive_loss(ones, ones, same, scale=scale)
    same[0, 1] = same[1, 0] = True
    masked = pair_contrastive_loss(ones, ones, same, scale=scale)

    assert float(plain) == pytest.approx(math.log(4), rel=1e-5)
    assert float(masked) == pytest.approx((2 * math.log(3) + 2 * math.log(4)) / 4, rel=1e-5)
