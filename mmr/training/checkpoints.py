"""Everything that a killed run needs to continue as if it had not been, in one file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mmr.atomic import new_file
from mmr.training.figures import Figures

Weights = dict[str, Tensor]


@dataclass
class LoopState:
    """All that a resumed run needs beside model and optimizer.

    Attributes:
        step: Optimizer steps done.
        best_step, best: Where validation was best, and how good; step 0 is the untrained start.
        stale: Validations since then.
        waited_s, stepped_s: Seconds spent waiting for data, and in steps, that waiting included.
        history: One record a validation: step, figures, loss, learning rate, seconds since the
            start of this process, share of the steps' time spent waiting for data since the last
            record.
    """

    step: int = 0
    best_step: int = 0
    best: Figures = field(default_factory=Figures.none_yet)
    stale: int = 0
    waited_s: float = 0.0
    stepped_s: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that do not learn."""
    return frozenset(name for name, value in model.named_parameters() if not value.requires_grad)


def learning_weights(model: nn.Module, *, frozen: frozenset[str]) -> Weights:
    """Everything that training changes, parameters and buffers, as it is: no copy."""
    values = model.state_dict().items()
    return {name: value.detach() for name, value in values if name not in frozen}


def copied(weights: Weights) -> Weights:
    """A copy that later steps leave alone."""
    return {name: value.clone() for name, value in weights.items()}


def save_checkpoint(
    file: Path,
    weights: Mapping[str, Weights],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    state: LoopState,
) -> None:
    """Writes the file.

    Args:
        file: Replaced when the new one is whole.
        weights: `model`, `best` and `averaged`.
        optimizer: Its moments.
        schedule: Its place.
        state: The loop's own.
    """
    content = {
        **weights,
        "optimizer": optimizer.state_dict(),
        "schedule": {"last_epoch": schedule.last_epoch},
        "state": asdict(state),
    }
    with new_file(file) as scratch:
        torch.save(content, scratch)


def restore_checkpoint(
    file: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    state: LoopState,
) -> tuple[Weights, Weights]:
    """Puts everything back as it was; returns the best and the averaged weights."""
    content = torch.load(file, weights_only=True, map_location="cpu")
    model.load_state_dict(content["model"], strict=False)
    optimizer.load_state_dict(content["optimizer"])
    schedule.last_epoch = content["schedule"]["last_epoch"]
    for name, value in copy.deepcopy(content["state"]).items():
        setattr(state, name, Figures.of(value) if name == "best" else value)
    return content["best"], content["averaged"]
