"""Backbones as compiled graphs while they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from mmr.models.text import TextEncoder
from mmr.models.vision import ImageEncoder


@contextmanager
def compiled(model: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Compiles the learning backbones of a model with `torch.compile` inside the block.

    Names of parameters stay as they are, so checkpoints are the same with and without. Batches
    differ in size, so the second size seen compiles a graph for all sizes.

    Args:
        model: Holds the backbones.
        enabled: Without effect when False.
    """
    backbones = [
        module
        for module in model.modules()
        if isinstance(module, ImageEncoder | TextEncoder)
        and any(value.requires_grad for value in module.parameters())
    ]
    if enabled:
        for backbone in backbones:
            backbone.compile()
    try:
        yield
    finally:
        for backbone in backbones:
            backbone._compiled_call_impl = None  # nn.Module has no public way back
