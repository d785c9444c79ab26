import math

import pytest
import torch

from mmr.training.losses import (
    distillation_loss,
    graded_contrastive_loss,
    over_prefixes,
    pair_contrastive_loss,
    query_product_loss,
)


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


def test_ignored_cells_are_no_negatives_in_either_direction() -> None:
    torch.manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    products = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    grades = torch.tensor([[2, 0, 0, 1], [0, 2, 0, 0], [0, 0, 1, 0]])
    ignored = torch.zeros(3, 4, dtype=torch.bool)
    ignored[0, 1] = ignored[2, 0] = True

    def loss(products: torch.Tensor, ignored: torch.Tensor | None) -> float:
        scale = torch.tensor(7.0)
        return float(
            query_product_loss(
                queries, products, grades, scale=scale, grade_weights={}, ignored=ignored
            )
        )

    scores = 7 * queries @ products.T
    silent = scores.masked_fill(ignored, -1e9)  # a score so low that it competes with nothing
    expected = 0.5 * (
        slow_graded_loss(silent.tolist(), grades.tolist(), {})
        + slow_graded_loss(silent.T.tolist(), grades.T.tolist(), {})
    )
    assert loss(products, ignored) == pytest.approx(expected, rel=1e-4)
    assert loss(products, None) > loss(products, ignored)
    assert loss(products, torch.zeros_like(ignored)) == loss(products, None)


def test_a_positive_without_any_negative_left_has_finite_gradients() -> None:
    scores = torch.randn(1, 3, requires_grad=True)
    ignored = torch.tensor([[False, True, True]])

    loss = graded_contrastive_loss(
        scores, torch.tensor([[1, 0, 0]]), grade_weights={}, ignored=ignored
    )
    loss.backward()

    assert loss.item() == 0.0
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_distillation_is_the_divergence_from_the_teacher_over_what_it_knows() -> None:
    nan = math.nan
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0], [5.0, 1.0, 2.0]])
    teacher = torch.tensor([[2.0, 1.0, nan], [nan, 4.0, nan], [0.1, 0.2, 0.3]])

    def divergence(row: list[float], teacher_row: list[float]) -> float:
        known = [j for j, value in enumerate(teacher_row) if not math.isnan(value)]
        mine = [math.exp(row[j]) for j in known]
        theirs = [math.exp(teacher_row[j]) for j in known]
        return sum(
            t / sum(theirs) * math.log((t / sum(theirs)) / (m / sum(mine)))
            for m, t in zip(mine, theirs, strict=True)
        )

    loss = distillation_loss(scores, teacher)

    rows = [divergence(scores[i].tolist(), teacher[i].tolist()) for i in (0, 2)]
    assert float(loss) == pytest.approx(sum(rows) / 2, rel=1e-4)  # row 1: one opinion ranks nothing


def test_distillation_is_zero_and_flat_where_the_student_agrees() -> None:
    teacher = torch.randn(3, 6)
    scores = (teacher + 2.5).requires_grad_()  # a softmax knows no offset

    loss = distillation_loss(scores, teacher)
    loss.backward()

    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.zeros(3, 6), rtol=0, atol=1e-6)


def test_distillation_survives_a_teacher_who_knows_nothing_and_one_who_is_sure() -> None:
    scores = torch.randn(2, 4, requires_grad=True)

    silent = distillation_loss(scores, torch.full((2, 4), math.nan))
    sure = distillation_loss(scores, torch.tensor([[500.0, -500, 0, 0], [math.nan, 0, 300, 0]]))
    (silent + sure).backward()

    assert silent.item() == 0.0
    assert math.isfinite(sure.item())
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_matryoshka_sums_the_loss_over_prefixes_brought_to_unit_length() -> None:
    torch.manual_seed(0)
    left = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    right = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    same = torch.zeros(5, 5, dtype=torch.bool)
    scale = torch.tensor(5.0)

    def loss(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(one.norm(dim=-1), torch.ones(5))
        torch.testing.assert_close(other.norm(dim=-1), torch.ones(5))
        return pair_contrastive_loss(one, other, same, scale=scale)

    total = over_prefixes(loss, left, right, dims=[4, 2])

    parts = [
        loss(
            left[:, :dim] / left[:, :dim].norm(dim=-1, keepdim=True),
            right[:, :dim] / right[:, :dim].norm(dim=-1, keepdim=True),
        )
        for dim in (8, 4, 2)
    ]
    torch.testing.assert_close(total, sum(parts[1:], parts[0]))
    assert over_prefixes(loss, left, right, dims=[]).equal(loss(left, right))
