"""Cross-modal attention: the words of a product read its picture, and the picture its words."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mmr.config.model import CrossAttentionSettings
from mmr.models.fusion_base import (
    Fusion,
    ProductTokens,
    TokenChannels,
    masked_weights,
)


class CrossAttention(Fusion):
    """Attention between product text tokens and image cells; what they tell each other is added.

    Each word looks where the picture shows it, each cell of the picture for the words that name
    it. The mean over words and the mean over cells are the evidence that only both give. From it
    come the weights of text and image, and a residual that starts at zero: the fusion starts
    exactly at the mean of the aligned embeddings. Without one modality the other weighs 1 and the
    residual is silent.

        T = W_T LN(tokens),  V = W_V LN(cells) + place
        e = [mean over tokens of MHA(T, V, V); mean over cells of MHA(V, T, T)]
        w = softmax(W_w e),  p = n(w_t t + w_v v + W_o e)

    Args:
        dim: Channels of both embeddings and of the output.
        settings: Cells a side, width and heads.
        channels: Channels of the token states.

    Source: the cross-modal attention that the outline of "Beyond Text" names, on the product side
    alone; MHA as in "Attention Is All You Need" (arXiv:1706.03762). The paper itself describes a
    bilinear block: pooling, weights, zero start and mask are our reading.
    """

    needs_tokens: ClassVar[bool] = True

    def __init__(
        self, dim: int, *, settings: CrossAttentionSettings, channels: TokenChannels
    ) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        self.text_in = nn.Sequential(nn.LayerNorm(channels.text), nn.Linear(channels.text, width))
        self.image_in = nn.Sequential(
            nn.LayerNorm(channels.image), nn.Linear(channels.image, width)
        )
        self.place = nn.Parameter(torch.zeros(settings.image_cells**2, width))
        nn.init.normal_(self.place, std=0.02)
        self.text_reads_image = nn.MultiheadAttention(width, heads, batch_first=True)
        self.image_reads_text = nn.MultiheadAttention(width, heads, batch_first=True)
        self.weigh = nn.Linear(2 * width, 2)
        self.out = nn.Linear(2 * width, dim, bias=False)
        for start in (self.weigh.weight, self.weigh.bias, self.out.weight):
            nn.init.zeros_(start)

    def parts(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None,
    ) -> tuple[Tensor, Tensor]:
        evidence = self.evidence(tokens)
        present = torch.stack([has_text, has_image], dim=1)
        return masked_weights(self.weigh(evidence), present), self.out(evidence)

    def joint(self, text: Tensor, image: Tensor, tokens: ProductTokens | None) -> Tensor:
        told: Tensor = self.out(self.evidence(tokens))
        return told

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        return self.parts(text, image, has_text=has_text, has_image=has_image, tokens=tokens)[0]

    def evidence(self, tokens: ProductTokens | None) -> Tensor:
        """What words and cells tell each other, `(batch, 2 * width)`."""
        if tokens is None:
            raise RuntimeError("cross-attention reads product tokens, and none were given")
        words = self.text_in(tokens.text)  # (batch, tokens, width)
        cells = self.image_in(tokens.image) + self.place[: tokens.image.shape[1]]
        seen, _ = self.text_reads_image(words, cells, cells, need_weights=False)
        named, _ = self.image_reads_text(
            cells, words, words, key_padding_mask=~tokens.text_mask, need_weights=False
        )
        real = tokens.text_mask.unsqueeze(-1).to(seen.dtype)  # (batch, tokens, 1)
        return torch.cat([(seen * real).sum(1) / real.sum(1), named.mean(1)], dim=-1)
