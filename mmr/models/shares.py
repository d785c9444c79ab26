"""How much text, image and their joint expert weigh in a product's vector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmr.models.fusion_base import Fusion, ProductTokens

_SAME_DIRECTION = 1e-4  # cosine distance below which a mixture is the vector that it explains


@torch.no_grad()
def modality_shares(
    fusion: Fusion,
    text: Tensor,
    image: Tensor,
    *,
    vectors: Tensor,
    has_text: Tensor,
    has_image: Tensor,
    tokens: ProductTokens | None = None,
) -> Tensor | None:
    """Shares of text, of image, and of what only both tell, in each product's vector.

    A share is stated only where it is the whole truth: the parts, each of unit length and weighed
    by its share, must add up to the vector that the fusion made. A fusion that mixes in another
    way (`concat`) has no such shares, whatever weights it may report.

    Args:
        fusion: The product tower's fusion.
        text: `(batch, dim)`, unit length.
        image: `(batch, dim)`, unit length; rows of a missing modality hold anything finite.
        vectors: `(batch, dim)`, what the fusion made of them.
        has_text: `(batch,)`, bool.
        has_image: `(batch,)`, bool.
        tokens: Token states, for a fusion that reads them.

    Returns:
        `(batch, 3)`, rows sum to 1; a fusion of both gives a missing modality exactly 0. A row is
        NaN where the product has neither text nor image. None where the fusion has no shares.
    """
    gate = fusion.modality_weights(
        text, image, has_text=has_text, has_image=has_image, tokens=tokens
    )
    told = fusion.joint(text, image, tokens)
    told = torch.zeros_like(text) if told is None else told
    both = has_text & has_image
    parts = [*fusion.experts(text, image, both=both), F.normalize(told, dim=-1)]
    joint = both.to(gate) * told.norm(dim=-1)
    shares = torch.cat([gate, joint.unsqueeze(1)], dim=1)
    shares = shares / shares.sum(1, keepdim=True)
    mixed = F.normalize((shares.unsqueeze(-1) * torch.stack(parts, dim=1)).sum(1), dim=-1)
    something = has_text | has_image
    distance = 1 - (mixed * vectors).sum(1)
    if not bool((distance[something] < _SAME_DIRECTION).all()):
        return None
    return torch.where(something.unsqueeze(1), shares, torch.nan)
