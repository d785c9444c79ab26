"""Principal axes: vectors turned so that their first dimensions say most."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_axes(embeddings: Tensor) -> Tensor:
    """The turn after which the first dimensions of embeddings hold most of their length.

    Turned queries and products score as before, because a turn keeps all scalar products. Of all
    turns this one leaves most of the embeddings in their first k dimensions, for every k, so an
    index of shorter vectors loses least.

    Args:
        embeddings: `(rows, dim)`.

    Returns:
        `(dim, dim)`, orthogonal; `embeddings @ axes` are the turned ones. Each axis points to where
        its largest part is positive, so the same embeddings give the same axes.

    Source: principal components without centring, by the second moment (Eckart and Young 1936).
    """
    moment = embeddings.double().mT @ embeddings.double()
    _, axes = torch.linalg.eigh(moment.cpu())  # ascending
    axes = axes.flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    turned: Tensor = axes * largest.sign()
    return turned.to(embeddings)
