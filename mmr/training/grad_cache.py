"""Large batches in little memory: the encoder runs a part of the batch at a time, and once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encoded_in_parts(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, *, parts: int, model: nn.Module
) -> Tensor:
    """Encodes a batch part by part, with the gradients of one pass and the memory of one part.

    The first pass keeps embeddings alone, so the loss over the whole batch and its gradients with
    respect to the embeddings cost little memory. On the way back each part is encoded once more
    and hands its gradients on, before the next one is. Dropout draws the same numbers both times.

    A batch norm normalises over a part, as it would if the parts were batches; its running
    statistics count every part once.

    Args:
        encode: `(part, ...)` to `(part, dim)`.
        inputs: `(rows, ...)`, which need no gradients.
        parts: How many; sizes differ by one at most. Equal in every process, which go through
            batch norms together.
        model: Holds every batch norm that `encode` goes through.

    Returns:
        `(rows, dim)`.

    Source: GradCache (arXiv:2101.06983). Its cache of gradients is autograd's own here: the second
    pass is a checkpoint's recomputation.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unchanged(norms)

    encoded = [
        checkpoint(encode, part, use_reentrant=False, context_fn=contexts)
        for part in inputs.tensor_split(parts)
    ]
    return torch.cat(encoded)


@contextmanager
def _unchanged(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Within it batch norms normalise as before, but their running statistics stay."""
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    try:
        yield
    finally:
        for norm, values in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(values[name])
