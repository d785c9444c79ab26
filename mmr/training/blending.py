"""Keeps as much of what a fusion learnt as finds no less than it has to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mmr.models.fusion import Concat
from mmr.training.checkpoints import Weights, copied
from mmr.training.figures import Figures
from mmr.training.loop import FitResult

WITH_START, WITH_TEXT = "with_start", "with_text"  # parts of stage C, in its record
START_SHARES = tuple(round(1 - 0.05 * count, 2) for count in range(1, 11))  # down to a half
TEXT_SHARES = tuple(round(1 - 0.05 * count, 2) for count in range(1, 21))  # down to none of it

Measure = Callable[[], Figures]


def copied_weights(modules: Sequence[nn.Module]) -> list[Weights]:
    """A copy of each module's weights that later steps leave alone."""
    return [copied(module.state_dict()) for module in modules]


def blend_with_start(
    modules: Sequence[nn.Module],
    start: Sequence[Weights],
    measure: Measure,
    *,
    end: FitResult,
    floor: Figures,
) -> FitResult:
    """Moves weights back towards where training began, until they reach the floor.

    Without a share that reaches it all stays as it is.

    Args:
        modules: What was trained, with its best weights; changed in place.
        start: Their weights before training.
        measure: Figures of the validation queries with the weights as they are.
        end: How the training ended.
        floor: What the figures should not be below.

    Returns:
        The largest share of what was learnt that reaches the floor and its figures, as of a loop
        whose steps are the shares tried; step 0 keeps all.

    Source: interpolated weights of WiSE-FT (arXiv:2109.01903, section 3); that the largest share
    is taken is ours, measured in docs/experiments.md.
    """
    learnt = copied_weights(modules)

    def keep(share: float) -> None:
        for module, before, after in zip(modules, start, learnt, strict=True):
            module.load_state_dict(
                {name: _between(before[name], after[name], share) for name in after}
            )

    return _largest_share(START_SHARES, keep, measure, end=end, floor=floor)


def blend_with_text(
    fusion: Concat, measure: Measure, *, end: FitResult, floor: Figures
) -> FitResult:
    """Draws a concatenation towards the text alone until it finds no less than it has to.

    Without a share that reaches the floor it stays as it is.

    Args:
        fusion: Changed in place.
        measure: Figures of the validation queries with the fusion as it is.
        end: How well it answers.
        floor: What its figures should not be below.

    Returns:
        As `blend_with_start`.

    Source: ours; measured in docs/experiments.md.
    """
    learnt = fusion.mix.weight.detach().clone()

    def keep(share: float) -> None:
        fusion.blend(learnt, share=share)

    return _largest_share(TEXT_SHARES, keep, measure, end=end, floor=floor)


def kept_share(record: Mapping[str, Any], part: str) -> float | None:
    """How much was kept of what stage C learnt; None where all of it was.

    Args:
        record: The record of a training (`training.json`).
        part: `WITH_START` or `WITH_TEXT`: what the rest is.
    """
    stage = f"{record['stage']}.{part}"
    chosen = record["parts"].get(stage, 0)
    tried = [entry["share"] for entry in record["history"] if entry["stage"] == stage]
    return float(tried[chosen - 1]) if chosen else None


def _largest_share(
    shares: Sequence[float],
    keep: Callable[[float], None],
    measure: Measure,
    *,
    end: FitResult,
    floor: Figures,
) -> FitResult:
    began = time.monotonic()
    history: list[dict[str, float]] = []
    for step, share in enumerate(shares, start=1):
        keep(share)
        with torch.no_grad():
            figures = measure()
        seconds = time.monotonic() - began
        history.append({"step": step, **figures.named(), "share": share, "seconds": seconds})
        if figures.reach(floor):
            return FitResult(step, figures, step, history, data_wait_share=0.0)
    keep(1.0)
    return FitResult(0, end.best, len(shares), history, data_wait_share=0.0)


def _between(before: torch.Tensor, after: torch.Tensor, share: float) -> torch.Tensor:
    return torch.lerp(before, after, share) if after.is_floating_point() else after
