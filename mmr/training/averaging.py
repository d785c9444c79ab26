"""Running averages of the weights: steadier than the weights of any one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mmr.training.checkpoints import Weights, copied

_RAMP = 10  # steps: early averages forget fast, as the start is no good average of anything


class AveragedWeights:
    """Exponential moving averages of everything that training changes.

    After step n (from 1) each average moves by `1 - min(decay, n / (10 + n))` towards the weight
    of the moment. Whole numbers (counters, tables of rows) are copied, not averaged.

    Args:
        decay: Share of the old average that stays each step, in the long run.
        weights: Reads what training changes.
        start: The averages so far.

    Source: averaged weights as in Mean Teacher (arXiv:1703.01780); the ramp is our reading.
    """

    def __init__(self, decay: float, weights: Callable[[], Weights], start: Weights) -> None:
        self._decay, self._weights = decay, weights
        self.values = copied(start)

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes in the weights after `steps` steps."""
        move = 1 - min(self._decay, steps / (_RAMP + steps))
        for name, value in self._weights().items():
            average = self.values[name].to(value.device)
            averaged = value.is_floating_point()
            self.values[name] = average.lerp(value, move) if averaged else value.clone()

    @contextmanager
    def shown(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        live = copied(self._weights())
        model.load_state_dict(self.values, strict=False)
        try:
            yield
        finally:
            model.load_state_dict(live, strict=False)
