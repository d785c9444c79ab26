"""One optimisation loop for every stage: warm-up, cosine decay, early stop, exact resume."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mmr.atomic import new_file
from mmr.config.training import LoopSettings
from mmr.models.precision import has_native_bf16
from mmr.progress import progress_bar


@dataclass
class LoopState:
    """All that a resumed run needs beside model and optimizer.

    Attributes:
        step: Optimizer steps done.
        best_step, best_metric: Where validation was best; step 0 is the untrained start.
        stale: Validations since then.
        history: One record a validation: step, loss, metric, learning rate, seconds.
    """

    step: int = 0
    best_step: int = 0
    best_metric: float = -math.inf
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class FitResult:
    """How a stage ended; the model holds the weights of `best_step`."""

    best_step: int
    best_metric: float
    steps: int
    history: list[dict[str, float]]


def new_accelerator() -> Accelerator:
    """An accelerator with bf16 autocast where the hardware multiplies it natively."""
    return Accelerator(mixed_precision="bf16" if has_native_bf16() else "no")


def fit(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    *,
    parameters: Sequence[dict[str, Any]],
    validate: Callable[[], float],
    settings: LoopSettings,
    seed: int,
    accelerator: Accelerator,
    checkpoint: Path,
    description: str,
) -> FitResult:
    """Trains until the steps are done or validation stops improving.

    A step's batch and random numbers depend on `seed` and its number alone, and a checkpoint holds
    everything else, so a run that was killed continues as if it had not been.

    Args:
        model: What is trained; on return it holds its best weights.
        loss_at: The loss of the batch of a step, a scalar.
        parameters: Groups for the optimizer, each with its peak `lr`.
        validate: Measures the present model; larger is better. It also measures the start.
        settings: Numbers of the loop.
        seed: Seeds every step together with its number.
        accelerator: Places tensors and scales gradients.
        checkpoint: File to resume from and to write to; removed by the caller once the stage is
            stored.
        description: Shown beside the progress bar.
    """
    optimizer = torch.optim.AdamW(list(parameters), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    state = LoopState()
    best: dict[str, Tensor] = {}
    if checkpoint.is_file():
        best = _restore(checkpoint, model, optimizer, schedule, state)
    else:
        state.best_metric, best = _validated(model, validate), _weights(model)
    with progress_bar(description, settings.steps) as bar:
        bar.advance(state.step)
        start = time.monotonic()
        running = 0.0
        while state.step < settings.steps and state.stale < settings.patience:
            torch.manual_seed(_step_seed(seed, state.step))
            loss = _step(model, loss_at, state.step, optimizer, accelerator, settings)
            schedule.step()
            state.step += 1
            running = loss if running == 0.0 else 0.95 * running + 0.05 * loss
            bar.advance(note=f"loss {running:.3f} best {state.best_metric:.4f}")
            if state.step % settings.validate_every == 0 or state.step == settings.steps:
                record = {"loss": running, "learning_rate": float(schedule.get_last_lr()[0])}
                if _note_validation(state, _validated(model, validate), record, start):
                    best = _weights(model)
            if state.step % settings.checkpoint_every == 0:
                _save(checkpoint, model, optimizer, schedule, state, best)
    model.load_state_dict(best, strict=False)
    return FitResult(state.best_step, state.best_metric, state.step, state.history)


def _step(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    step: int,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    settings: LoopSettings,
) -> float:
    model.train()
    with accelerator.autocast():
        loss = loss_at(step)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
        settings.gradient_clip,
    )
    optimizer.step()
    return float(loss.detach())


def _rate(step: int, settings: LoopSettings) -> float:
    """Share of the peak rate: linear warm-up, then cosine decay to a twentieth."""
    warmup = max(1, round(settings.warmup_share * settings.steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % (2**63)


def _validated(model: nn.Module, validate: Callable[[], float]) -> float:
    model.eval()
    with torch.no_grad():
        return validate()


def _note_validation(
    state: LoopState, metric: float, record: dict[str, float], start: float
) -> bool:
    seconds = time.monotonic() - start
    state.history.append({"step": state.step, "metric": metric, **record, "seconds": seconds})
    if metric > state.best_metric:
        state.best_metric, state.best_step, state.stale = metric, state.step, 0
        return True
    state.stale += 1
    return False


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that training changes: learning parameters and buffers."""
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    return {
        name: value.detach().clone()
        for name, value in model.state_dict().items()
        if name not in frozen
    }


def _save(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    state: LoopState,
    best: dict[str, Tensor],
) -> None:
    content = {
        "model": _weights(model),
        "optimizer": optimizer.state_dict(),
        "schedule": {"last_epoch": schedule.last_epoch},
        "state": asdict(state),
        "best": best,
    }
    with new_file(checkpoint) as scratch:
        torch.save(content, scratch)


def _restore(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    state: LoopState,
) -> dict[str, Tensor]:
    content = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(content["model"], strict=False)
    optimizer.load_state_dict(content["optimizer"])
    schedule.last_epoch = content["schedule"]["last_epoch"]
    for name, value in copy.deepcopy(content["state"]).items():
        setattr(state, name, value)
    best: dict[str, Tensor] = content["best"]
    return best
