"""Which of two steps of a training is the better one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mmr.training.figures import Figures

SHARE = st.floats(0, 1)
FIGURES = st.builds(Figures, SHARE, SHARE, SHARE)


@given(FIGURES, FIGURES, st.none() | FIGURES)
def test_of_two_steps_at_most_one_is_better(
    first: Figures, second: Figures, floor: Figures | None
) -> None:
    assert not (first.beat(second, floor=floor) and second.beat(first, floor=floor))
    assert first.beat(Figures.none_yet(), floor=floor)


@given(st.lists(FIGURES, min_size=1), FIGURES)
def test_the_best_of_many_reaches_the_floor_if_any_does_whatever_their_order(
    steps: list[Figures], floor: Figures
) -> None:
    best = {
        max(order, key=lambda step: (step.reach(floor), step.ndcg_at_10)).ndcg_at_10
        for order in (steps, steps[::-1])
    }
    kept = Figures.none_yet()
    for step in steps:
        kept = step if step.beat(kept, floor=floor) else kept

    assert best == {kept.ndcg_at_10}
    assert kept.reach(floor) == any(step.reach(floor) for step in steps)


@given(FIGURES, st.sampled_from(["", "validation_"]))
def test_figures_come_back_from_a_record(figures: Figures, prefix: str) -> None:
    record = json.loads(json.dumps(figures.named(prefix) | {"steps": 12}))

    assert Figures.of(record, prefix) == figures
