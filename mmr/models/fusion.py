"""How the text and the image of one product become one vector: all kinds but cross-attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.config.model import FusionKind, ModelSettings
from mmr.models.cross_attention import CrossAttention
from mmr.models.fusion_base import (
    Fusion,
    ProductTokens,
    TokenChannels,
    masked_weights,
)


class TextOnly(Fusion):
    """The product's text alone: the tuned text-only baseline."""

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        return torch.tensor([1.0, 0.0], device=text.device).expand(len(text), 2)


class ImageOnly(Fusion):
    """The product's image alone."""

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        return torch.tensor([0.0, 1.0], device=text.device).expand(len(text), 2)


class Mean(Fusion):
    """Both alike; a missing one counts nothing."""

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        present = torch.stack([has_text, has_image], dim=1)
        return masked_weights(torch.zeros(len(text), 2, device=text.device), present)


class Concat(Mean):
    """A linear map of both embeddings side by side, which starts as their mean.

    A product that lacks one keeps the embedding of the other, as with every fusion here.

    Source: the naive concatenation rung of the "Beyond Text" outline; the start, and what becomes
    of a missing modality, are our reading.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * dim, dim, bias=False)
        nn.init.zeros_(self.mix.weight)
        with torch.no_grad():
            self.mix.weight[:, :dim].fill_diagonal_(0.5)
            self.mix.weight[:, dim:].fill_diagonal_(0.5)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        mixed = F.normalize(self.mix(torch.cat([text, image], dim=-1)), dim=-1)
        mean = super().forward(text, image, has_text=has_text, has_image=has_image)
        return torch.where((has_text & has_image).unsqueeze(1), mixed, mean)

    @torch.no_grad()
    def blend(self, learnt: Tensor, *, share: float) -> None:
        """Moves the map between what it learnt and the text alone.

        Args:
            learnt: `(dim, 2 dim)`, weights of the map after training.
            share: Of them in the result; at 0 a product with both has the text's embedding.

        Source: interpolated weights of WiSE-FT (arXiv:2109.01903, section 3), between the text
        alone and the concatenation in place of a model before and after its tuning.
        """
        text_alone = torch.zeros_like(learnt)
        text_alone[:, : len(learnt)].fill_diagonal_(1.0)
        self.mix.weight.copy_(torch.lerp(text_alone, learnt, share))


class ModalAdaptation(Fusion):
    """Weighs text against image for each product, read from the product alone.

    Shoppers look at the title of one product and at the picture of another; two weights a product,
    which sum to 1 and can be shown to people, say how much each counts. They start alike.

        w = softmax(W [t; v]),  p = n(w_t t + w_v v)

    Args:
        dim: Channels of both inputs and of the output.

    Source: MAKE (arXiv:2301.12646), Modal Adaptation. Its equations are not public: weights from
    both embeddings, the product's own and no query, are our reading.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(2 * dim, 2)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        logits = self.weigh(torch.cat([text, image], dim=-1))
        return masked_weights(logits, torch.stack([has_text, has_image], dim=1))


class Gate(Fusion):
    """A mixture of text and image whose weights also see where both agree, without more experts.

    Between modal adaptation, whose weights are linear, and the bilinear experts, whose third expert
    it lacks: it tells what the gate alone brings. The weights start alike.

        g = softmax(MLP [t; v; t * v]),  p = n(g_t t + g_v v)

    Args:
        dim: Channels of both inputs and of the output.

    Source: gated multimodal units (arXiv:1702.01992), one weight for each modality instead of one
    for each channel, so that it can be shown to people; the product term is our reading.
    """

    speed: ClassVar[float] = 1.0  # multiplies the logits, and so how fast they learn

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = _gate_network(dim)

    def modality_weights(
        self,
        text: Tensor,
        image: Tensor,
        *,
        has_text: Tensor,
        has_image: Tensor,
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        logits = self.speed * self.gate(torch.cat([text, image, text * image], dim=-1))
        return masked_weights(logits, torch.stack([has_text, has_image], dim=1))


def _gate_network(dim: int) -> nn.Sequential:
    """Text, image and their product, `(batch, 3 * dim)`, to two logits that start at zero."""
    logits = nn.Linear(dim // 2, 2)
    nn.init.zeros_(logits.weight)
    nn.init.zeros_(logits.bias)
    return nn.Sequential(nn.Linear(3 * dim, dim // 2), nn.GELU(), logits)


class ModalityExpert(nn.Module):
    """What one modality says where the other speaks too; it starts at the embedding itself.

        e(x) = n(W x)

    `W` starts at half the identity: the length does not count, and a smaller matrix turns further
    at the same learning rate.

    Args:
        dim: Channels in and out.

    Shape:
        - input, output: `(batch, dim)`, unit length.

    Source: ours; measured in docs/experiments.md.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.turn = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.turn.weight.copy_(0.5 * torch.eye(dim))

    def forward(self, embedding: Tensor) -> Tensor:
        return F.normalize(self.turn(embedding), dim=-1)


class BilinearExperts(Gate):
    """A mixture of three experts: the text, the image, and what only both together tell.

    Text and image expert may turn their embedding away from what the other says already: beside a
    photograph the title need not repeat the colour. The bilinear expert sees products of text and
    image channels, so it can tell "red floral" from "red dress beside a floral text". A gate, read
    from the product alone, weighs text against image; the bilinear expert is added to their mixture
    by a weight that starts at zero, so the fusion starts exactly at the mean of the aligned
    embeddings (stage B's quality). Without one modality its weight is 0, the bilinear expert is
    silent, and the other modality's embedding stays as it is. The gate learns at a tenth of the
    experts' speed: at their own it takes a side before they have learnt anything.

        b = W_o ssqrt((U t) * (V v)),  ssqrt(x) = sign(x) sqrt(|x|), then L2
        g = softmax(0.1 MLP [t; v; t * v])
        p = n(g_t e_t(t) + g_v e_v(v) + a b)

    Args:
        dim: Channels of both inputs and of the output.
        rank: Rank of the bilinear map.

    Source: "Beyond Text" (arXiv:2603.04836): bilinear block and mixture of modality experts on the
    product side. Its equations are not public; low rank and signed square root follow MLB
    (arXiv:1610.04325) and MFB (arXiv:1708.01471). The zero start and the mask are our reading.
    """

    speed = 0.1

    def __init__(self, dim: int, *, rank: int) -> None:
        super().__init__(dim)
        self.text_factor = nn.Linear(dim, rank)
        self.image_factor = nn.Linear(dim, rank)
        self.bilinear_out = nn.Linear(rank, dim)
        self.bilinear_weight = nn.Parameter(torch.zeros(1))
        self.text_expert = ModalityExpert(dim)
        self.image_expert = ModalityExpert(dim)

    def experts(self, text: Tensor, image: Tensor, *, both: Tensor) -> tuple[Tensor, Tensor]:
        beside = both.unsqueeze(1)
        return (
            torch.where(beside, self.text_expert(text), text),
            torch.where(beside, self.image_expert(image), image),
        )

    def joint(self, text: Tensor, image: Tensor, tokens: ProductTokens | None) -> Tensor:
        return self.bilinear_weight * self.bilinear_expert(text, image)

    def bilinear_expert(self, text: Tensor, image: Tensor) -> Tensor:
        """The joint evidence of text and image, `(batch, dim)`, unit length."""
        product = self.text_factor(text) * self.image_factor(image)  # (batch, rank)
        rooted = product.sign() * (product.abs() + 1e-8).sqrt()
        return F.normalize(self.bilinear_out(F.normalize(rooted, dim=-1)), dim=-1)


_BUILDERS: dict[FusionKind, Callable[[ModelSettings, TokenChannels], Fusion]] = {
    FusionKind.TEXT_ONLY: lambda settings, channels: TextOnly(),
    FusionKind.IMAGE_ONLY: lambda settings, channels: ImageOnly(),
    FusionKind.MEAN: lambda settings, channels: Mean(),
    FusionKind.CONCAT: lambda settings, channels: Concat(settings.dim),
    FusionKind.GATE: lambda settings, channels: Gate(settings.dim),
    FusionKind.MODAL_ADAPTATION: lambda settings, channels: ModalAdaptation(settings.dim),
    FusionKind.BILINEAR_EXPERTS: lambda settings, channels: BilinearExperts(
        settings.dim, rank=settings.bilinear_rank
    ),
    FusionKind.CROSS_ATTENTION: lambda settings, channels: CrossAttention(
        settings.dim, settings=settings.cross_attention, channels=channels
    ),
}


def new_fusion(kind: FusionKind, settings: ModelSettings, channels: TokenChannels) -> Fusion:
    """Builds a fusion by its kind.

    Args:
        kind: Which.
        settings: Sizes.
        channels: Of the backbones' token states, for fusions that read them.
    """
    return _BUILDERS[kind](settings, channels)
