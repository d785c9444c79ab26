"""Token states of frozen backbones, kept on disk: what cross-attention reads of each product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmr.models.fusion_base import ProductTokens
from mmr.types import Int64Array


@dataclass(frozen=True)
class KeptTokens:
    """Token states of all products, memory-mapped: only the rows of a batch are read.

    Attributes:
        text: `(products, tokens, channels)`, float16.
        lengths: `(products,)`, real tokens of each text.
        image: `(products, cells, channels)`, float16.
        device: Where batches go.
    """

    text: NDArray[np.float16]
    lengths: Int64Array
    image: NDArray[np.float16]
    device: torch.device

    def of(self, rows: Int64Array) -> ProductTokens:
        """The token states of some products, in float32."""
        lengths = torch.from_numpy(self.lengths[rows]).to(self.device)
        places = torch.arange(self.text.shape[1], device=self.device)
        return ProductTokens(
            text=self._read(self.text, rows),
            text_mask=places.unsqueeze(0) < lengths.unsqueeze(1),
            image=self._read(self.image, rows),
        )

    def _read(self, states: NDArray[np.float16], rows: Int64Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(states[rows])).to(self.device).float()
