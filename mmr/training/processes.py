"""Several processes that train as one: each encodes its part of a batch, all see the whole loss.

`accelerate launch` starts one process per device. Every process makes the same global batch from
seed and step, encodes its own part of the rows, and gathers the embeddings of all with their
gradients. So each computes the loss that one process would, over all negatives of the batch. After
the backward pass the gradients are averaged.

Why the average is right: the backward pass of `gathered` adds up the gradients of all processes'
(equal) losses, so encoder gradients are `processes` times their share of the whole, and what comes
after the gathering, such as the learnt scale, has the whole gradient in every process. The average
is the whole gradient for both.

The model is not wrapped in `DistributedDataParallel`: it averages in the same way, but wants one
`forward` and a fixed set of learning parameters, and the losses here call several towers, may
propagate sub-batches themselves, and parts may be frozen on the way.

In one process every function here leaves its input as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from mmr.errors import ConfigError
from mmr.types import Int64Array

_PATIENCE = timedelta(hours=2)  # how long the others wait while the main process validates
_BUCKET_BYTES = 64 * 2**20  # gradients are averaged in messages of about this size


@cache
def accelerator() -> Accelerator:
    """This process's device and its ties to the others, as `accelerate launch` laid them out.

    It is there once; the first call joins the processes.
    """
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def process_count() -> int:
    """Processes that train together."""
    return int(accelerator().num_processes)


def process_index() -> int:
    """This process's number, from 0."""
    return int(accelerator().process_index)


def is_main() -> bool:
    """Whether this process is the one that validates, writes and shows progress."""
    return process_index() == 0


def wait_for_all() -> None:
    """Returns once every process has come here."""
    if process_count() > 1:
        accelerator().wait_for_everyone()


def own_part(rows: Int64Array) -> Int64Array:
    """The rows of a batch that this process encodes; sizes differ by one at most.

    Raises:
        ConfigError: There are fewer rows than processes.
    """
    if len(rows) < process_count():
        raise ConfigError(
            f"A batch of {len(rows)} rows cannot be split over {process_count()} processes. "
            "Set a larger batch, or launch fewer processes."
        )
    start, end = _bounds(len(rows))[process_index()]
    return rows[start:end]


def _bounds(rows: int) -> list[tuple[int, int]]:
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(rows), process_count())])
    return [(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def gathered(part: Tensor, *, rows: int) -> Tensor:
    """The parts of all processes in their order, with gradients.

    Args:
        part: `(own rows, ...)`, computed from `own_part` of a batch.
        rows: Rows of the whole batch.

    Returns:
        `(rows, ...)`, equal in every process.
    """
    if process_count() == 1:
        return part
    whole: Tensor = _Gather.apply(part, _bounds(rows))  # type: ignore[no-untyped-call]
    return whole


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, part: Tensor, bounds: list[tuple[int, int]]) -> Tensor:
        context.own = bounds[process_index()]
        longest = max(end - start for start, end in bounds)
        padded = part.new_zeros(longest, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in bounds]
        dist.all_gather(parts, padded)
        whole = [part[: end - start] for part, (start, end) in zip(parts, bounds, strict=True)]
        return torch.cat(whole)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].float().contiguous()
        dist.all_reduce(total)
        start, end = context.own
        return total[start:end].to(gradients[0].dtype), None


def summed(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with gradients."""
    if process_count() == 1:
        return value
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes.

    A parameter without a gradient in one process only counts as zero there; without one in any,
    it keeps none, as in one process.
    """
    if process_count() == 1 or not parameters:
        return
    used = torch.tensor(
        [parameter.grad is not None for parameter in parameters],
        dtype=torch.float32,
        device=parameters[0].device,
    )
    dist.all_reduce(used)
    gradients = []
    for parameter, count in zip(parameters, used.tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        flat /= process_count()
        for gradient, mean in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive gradients of one type, up to the size of a message."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size >= _BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
    if bucket:
        yield bucket


def share_weights(model: nn.Module) -> None:
    """Gives every process the main process's parameters and buffers."""
    if process_count() > 1:
        for value in model.state_dict().values():
            dist.broadcast(value, src=0)


def from_main(values: Sequence[float]) -> list[float]:
    """The main process's numbers, in every process; the others give as many of any kind."""
    if process_count() == 1:
        return list(values)
    shared = torch.tensor(values, dtype=torch.float64, device=accelerator().device)
    dist.broadcast(shared, src=0)
    return [float(value) for value in shared]
