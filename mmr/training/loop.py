"""One optimisation loop for every stage: warm-up, cosine decay, early stop, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mmr.config.training import LoopSettings
from mmr.models.precision import bf16_autocast, fast_matmuls
from mmr.progress import progress_bar
from mmr.training.averaging import AveragedWeights
from mmr.training.batch_norm import normalise_over_processes
from mmr.training.checkpoints import (
    LoopState,
    Weights,
    copied,
    frozen_names,
    learning_weights,
    restore_checkpoint,
    save_checkpoint,
)
from mmr.training.compilation import compiled
from mmr.training.feed import BatchFeed
from mmr.training.figures import Figures
from mmr.training.processes import (
    accelerator,
    average_gradients,
    from_main,
    is_main,
    process_index,
    share_weights,
)
from mmr.training.schedule import LateParts, rate_share

Batch = TypeVar("Batch")


class Objective(Protocol[Batch]):
    """What a stage minimises, in two halves, so that data is made ready while a step computes."""

    def batch(self, step: int) -> Batch:
        """The data of a step, by seed and step alone; see `BatchFeed` for what it may touch."""

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; equal in every process (see `mmr.training.processes`)."""


@dataclass(frozen=True)
class FitResult:
    """How a stage ended; the model holds the weights of `best_step`.

    Attributes:
        data_wait_share: Share of the steps' time in which nothing could be computed because the
            batch was not ready; of the main process.
    """

    best_step: int
    best: Figures
    steps: int
    history: list[dict[str, float]]
    data_wait_share: float


def fit(
    model: nn.Module,
    objective: Objective[Batch],
    *,
    parameters: Sequence[dict[str, Any]],
    validate: Callable[[], Figures],
    settings: LoopSettings,
    seed: int,
    checkpoint: Path,
    description: str,
    late: Sequence[nn.Module] = (),
    floor: Figures | None = None,
) -> FitResult:
    """Trains until the steps are done or validation stops improving.

    A step's batch and random numbers depend on `seed` and its number alone, and a checkpoint holds
    everything else, so a run that was killed continues as if it had not been. Several processes
    train as one (see `mmr.training.processes`): the main one validates and writes checkpoints, all
    read them. Dropout and augmentation are drawn by each process for its own rows, from seed, step
    and the process's number.

    Args:
        model: What is trained, on its device; on return it holds its best weights.
        objective: Batches and their loss.
        parameters: Groups for the optimizer, each with its peak `lr`.
        validate: Measures the present model. It also measures the start.
        settings: Numbers of the loop.
        seed: Seeds every step together with its number.
        checkpoint: File to resume from and to write to; removed by the caller once the stage is
            stored.
        description: Shown beside the progress bar.
        late: Parts that learn only after `settings.unfreeze_after` of the steps.
        floor: A step that reaches it is better than any that does not; None compares NDCG@10 alone.
    """
    share_weights(model)
    normalise_over_processes(model)
    parts = LateParts(late, settings)
    run = _Run(model, objective, parameters, validate, settings, seed, parts, floor)
    run.start_or_resume(checkpoint)
    state = run.state
    with (
        progress_bar(description, settings.steps, show=is_main()) as bar,
        BatchFeed(objective.batch, end=settings.steps) as feed,
        compiled(model, enabled=settings.compile),
    ):
        bar.advance(state.step)
        while state.step < settings.steps and state.stale < settings.patience:
            run.step(feed)
            bar.advance(note=f"loss {run.loss:.3f} best {state.best.ndcg_at_10:.4f}")
            if state.step % settings.validate_every == 0 or state.step == settings.steps:
                run.validate()
            if state.step % settings.checkpoint_every == 0 and is_main():
                run.save(checkpoint)
    model.load_state_dict(run.best, strict=False)
    share = _wait_share((0.0, 0.0), _clock(state))
    return FitResult(state.best_step, state.best, state.step, state.history, share)


class _Run(Generic[Batch]):
    """A call of `fit`: the optimizer, the best weights so far and where the loop stands.

    Attributes:
        state: Where it stands.
        best: What training changed, at the best validation so far.
        loss: Running mean of the losses since this process began.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective[Batch],
        parameters: Sequence[dict[str, Any]],
        validate: Callable[[], Figures],
        settings: LoopSettings,
        seed: int,
        late: LateParts,
        floor: Figures | None,
    ) -> None:
        self._model, self._objective = model, objective
        self._measure, self._floor = validate, floor
        self._settings, self._seed, self._late = settings, seed, late
        self._weights = partial(learning_weights, model, frozen=frozen_names(model))
        self._optimizer = _new_optimizer(parameters, settings)
        self._schedule = _new_schedule(self._optimizer, settings, late)
        self._average: AveragedWeights | None = None
        self.state, self.best, self.loss = LoopState(), Weights(), 0.0

    def start_or_resume(self, checkpoint: Path) -> None:
        """Measures the start, or goes on where the checkpoint ends."""
        state = self.state
        if checkpoint.is_file():
            self.best, averaged = restore_checkpoint(
                checkpoint, self._model, self._optimizer, self._schedule, state
            )
        else:
            state.best = _validated(self._model, self._measure)
            self.best = averaged = copied(self._weights())
        if self._settings.ema_decay:
            self._average = AveragedWeights(self._settings.ema_decay, self._weights, averaged)
        self._began, self._mark = time.monotonic(), _clock(state)

    def step(self, feed: BatchFeed[Batch]) -> None:
        """Learns from the next batch.

        The loss is read back, so on an accelerator too the time that is counted is that of
        finished work.
        """
        state = self.state
        torch.manual_seed(_step_seed(self._seed, state.step))
        start, waited = time.perf_counter(), feed.waited_s
        self._model.train()
        self._late.hold(state.step)
        batch = feed.take(state.step)
        loss = _step(self._objective, batch, self._optimizer, self._settings)
        state.stepped_s += time.perf_counter() - start
        state.waited_s += feed.waited_s - waited
        self._schedule.step()
        state.step += 1
        if self._average:
            self._average.update(state.step)
        self.loss = loss if self.loss == 0.0 else 0.95 * self.loss + 0.05 * loss

    def validate(self) -> None:
        """Measures the model as it is, or its averaged weights, and keeps them if they are best."""
        state = self.state
        record = {"loss": self.loss, "learning_rate": float(self._schedule.get_last_lr()[0])}
        record["data_wait_share"] = _wait_share(self._mark, _clock(state))
        with self._average.shown(self._model) if self._average else nullcontext():
            figures = _validated(self._model, self._measure)
            record["seconds"] = time.monotonic() - self._began
            if _note_validation(state, figures, record, floor=self._floor):
                self.best = copied(self._weights())
        self._mark = _clock(state)

    def save(self, checkpoint: Path) -> None:
        """Writes all that another process needs to go on."""
        kept: dict[str, Weights] = {"model": self._weights(), "best": self.best}
        kept["averaged"] = self._average.values if self._average else {}
        save_checkpoint(checkpoint, kept, self._optimizer, self._schedule, self.state)


def _new_optimizer(
    parameters: Sequence[dict[str, Any]], settings: LoopSettings
) -> torch.optim.Optimizer:
    """AdamW, as one kernel for all parameters where the device has it."""
    devices = {value.device.type for group in parameters for value in group["params"]}
    return torch.optim.AdamW(
        list(parameters),
        weight_decay=settings.weight_decay,
        fused=devices <= {"cpu", "cuda"},
    )


def _new_schedule(
    optimizer: torch.optim.Optimizer, settings: LoopSettings, late: LateParts
) -> torch.optim.lr_scheduler.LambdaLR:
    joined = [late.joining(group["params"]) for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, [partial(rate_share, settings=settings, joined=step) for step in joined]
    )


def _step(
    objective: Objective[Batch],
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
) -> float:
    with fast_matmuls():
        with bf16_autocast(accelerator().device, enabled=settings.bf16):
            loss = objective.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        accelerator().backward(loss)
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
    optimizer.step()
    return float(loss.detach())


def _clock(state: LoopState) -> tuple[float, float]:
    return state.waited_s, state.stepped_s


def _wait_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(after[1] - before[1], 1e-9)


def _step_seed(seed: int, step: int) -> int:
    # the generator takes 32 bits; no run has so many steps that processes would share numbers
    return (seed * 1_000_003 + step + 97_003_001 * process_index()) % (2**63)


def _validated(model: nn.Module, validate: Callable[[], Figures]) -> Figures:
    """Validates in the main process; all learn the result."""
    model.eval()
    figures = Figures.none_yet()
    if is_main():
        with torch.no_grad():
            figures = validate()
    return Figures(*from_main(astuple(figures)))


def _note_validation(
    state: LoopState, figures: Figures, record: dict[str, float], *, floor: Figures | None
) -> bool:
    state.history.append({"step": state.step, **figures.named(), **record})
    if figures.beat(state.best, floor=floor):
        state.best, state.best_step, state.stale = figures, state.step, 0
        return True
    state.stale += 1
    return False
