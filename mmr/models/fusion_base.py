"""What every fusion of text and image is: its inputs, its weights, its place in time.

Every fusion takes both modalities' embeddings in the shared space and two masks that say which of
them the product has. Nothing here sees a query: product vectors are computed ahead (invariant 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TokenChannels:
    """Channels of the token states of the two backbones."""

    text: int
    image: int


@dataclass(frozen=True)
class ProductTokens:
    """What frozen backbones say of some products before pooling.

    Attributes:
        text: `(batch, tokens, channels)`; rows behind a text's end hold anything finite.
        text_mask: `(batch, tokens)`, bool; at least the first token of each product is real.
        image: `(batch, cells, channels)`, a grid row by row.
    """

    text: Tensor
    text_mask: Tensor
    image: Tensor


class Fusion(nn.Module, ABC):
    """Base of all fusions.

    Shape:
        - text, image: `(batch, dim)`, unit length; rows of a missing modality hold anything finite.
        - has_text, has_image: `(batch,)`, bool.
        - tokens: Read by fusions that set `needs_tokens`; others take no notice.
        - output: `(batch, dim)`, unit length.
    """

    needs_tokens: ClassVar[bool] = False

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        weights, joint = self.parts(
            text, image, has_text=has_text, has_image=has_image, tokens=tokens
        )
        both = has_text & has_image
        text, image = self.experts(text, image, both=both)
        mixed = weights[:, :1] * text + weights[:, 1:2] * image
        if joint is not None:
            mixed = mixed + torch.where(both.unsqueeze(1), joint, 0.0)
        return F.normalize(mixed, dim=-1)

    def parts(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Modality weights and joint evidence, which some fusions draw from the same work."""
        weights = self.modality_weights(
            text, image, has_text=has_text, has_image=has_image, tokens=tokens
        )
        return weights, self.joint(text, image, tokens)

    def experts(self, text: Tensor, image: Tensor, *, both: Tensor) -> tuple[Tensor, Tensor]:
        """What is weighed: text and image embedding themselves, or what experts make of them.

        Args:
            text: `(batch, dim)`, unit length.
            image: `(batch, dim)`, unit length.
            both: `(batch,)`, bool: products that have both; others keep the embedding they have.

        Returns:
            Two of `(batch, dim)`, unit length.
        """
        return text, image

    def joint(self, text: Tensor, image: Tensor, tokens: ProductTokens | None) -> Tensor | None:
        """What a product with both gets on top of its weighted text and image, `(batch, dim)`."""
        return None

    @abstractmethod
    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        """How much text and image weigh in each product: `(batch, 2)`, rows sum to 1."""


def masked_weights(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over experts of which some are absent: an absent one weighs exactly 0.

    Args:
        logits: `(batch, experts)`.
        present: `(batch, experts)`, bool; a row with nothing present weighs all alike.
    """
    nothing = ~present.any(dim=1, keepdim=True)
    return logits.masked_fill(~present & ~nothing, float("-inf")).softmax(dim=-1)
