"""Learning rates over the steps, and parts that join later."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from mmr.config.training import LoopSettings


def rate_share(step: int, settings: LoopSettings, *, joined: int = 0) -> float:
    """Share of the peak rate: linear warm-up, then cosine decay to a twentieth.

    Args:
        step: From 0.
        settings: Numbers of the loop.
        joined: The step at which this part joined; it warms up on its own from there.
    """
    warmup = max(1, round(settings.warmup_share * settings.steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    share = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return share * min(1.0, (step - joined + 1) / warmup) if joined else share


class LateParts:
    """Parts that stay frozen for the first steps, while new parts learn what they are given.

    Frozen they are in evaluation, so that running statistics and dropout rest too.

    Args:
        parts: Usually pretrained backbones.
        settings: Says when they join.

    Attributes:
        joined: The step at which they join.

    Source: gradual unfreezing as in ULMFiT (arXiv:1801.06146), with two groups of layers.
    """

    def __init__(self, parts: Sequence[nn.Module], settings: LoopSettings) -> None:
        self.joined = round(settings.unfreeze_after * settings.steps)
        self._parts = parts if self.joined else ()
        self._learning = [
            parameter
            for part in self._parts
            for parameter in part.parameters()
            if parameter.requires_grad
        ]
        self._ids = {id(parameter) for parameter in self._learning}

    def joining(self, parameters: Sequence[nn.Parameter]) -> int:
        """The step at which a group of parameters joins; 0 for what learns from the start."""
        return self.joined if any(id(value) in self._ids for value in parameters) else 0

    def hold(self, step: int) -> None:
        """Freezes or frees them for a step; the model is in training mode."""
        waiting = step < self.joined
        for parameter in self._learning:
            parameter.requires_grad_(not waiting)
        for part in self._parts:
            part.train(not waiting)
