"""Draws a concatenation back towards the text where it finds less than it has to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmr.models.fusion import Concat
from mmr.training.figures import Figures
from mmr.training.loop import FitResult

SHARES = tuple(round(0.05 * count, 2) for count in range(19, -1, -1))


BLEND = "blend"  # the part of stage C that tries them


def blend_towards_text(
    fusion: Concat, measure: Callable[[], Figures], *, start: FitResult, floor: Figures
) -> FitResult:
    """Gives a concatenation as much of what it learnt as the floor allows.

    Without a share that reaches the floor it stays as it is.

    Args:
        fusion: After its training; changed in place.
        measure: Figures of the validation queries with the fusion as it is.
        start: How its training ended.
        floor: What its figures should not be below.

    Returns:
        The chosen share and its figures, as of a loop whose steps are the shares tried.

    Source: ours; measured in docs/experiments.md.
    """
    began, learnt = time.monotonic(), fusion.mix.weight.detach().clone()
    best, kept, chosen = start.best, 1.0, 0
    history: list[dict[str, float]] = []
    for step, share in enumerate(SHARES, start=1):
        fusion.blend(learnt, share=share)
        with torch.no_grad():
            figures = measure()
        seconds = time.monotonic() - began
        history.append({"step": step, **figures.named(), "share": share, "seconds": seconds})
        if figures.beat(best, floor=floor):
            best, kept, chosen = figures, share, step
    fusion.blend(learnt, share=kept)
    return FitResult(chosen, best, len(SHARES), history, data_wait_share=0.0)


def blended_share(record: Mapping[str, Any]) -> float | None:
    """How much a concatenation kept of what it learnt; None where it was not drawn back.

    Args:
        record: The record of a training (`training.json`).
    """
    part, kept = f"{record['stage']}.{BLEND}", Figures.of(record, "validation_")
    tried = [entry for entry in record["history"] if entry["stage"] == part]
    return next((entry["share"] for entry in tried if Figures.of(entry) == kept), None)
