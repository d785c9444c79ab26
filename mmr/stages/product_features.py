"""What frozen backbones made of a whole catalogue, for heads and a fusion to be run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmr.models.fusion_base import ProductTokens
from mmr.models.retriever import Retriever
from mmr.stages.features import HEAD_ROWS, image_features, product_features
from mmr.stages.token_features import product_tokens
from mmr.training.data import Catalogue
from mmr.training.kept_tokens import KeptTokens


@dataclass(frozen=True)
class ProductFeatures:
    """Of every product, on the device of the retriever that will read them.

    Attributes:
        texts: `(products, hidden)`, features of the text backbone.
        images: `(products, features)`, of the vision backbone; None where nobody looks.
        has_text, has_image: `(products,)`, bool.
        tokens: Token states, for a fusion that reads them.
    """

    texts: Tensor
    images: Tensor | None
    has_text: Tensor
    has_image: Tensor
    tokens: KeptTokens | None

    @classmethod
    def open(cls, retriever: Retriever, catalogue: Catalogue, *, cache: Path) -> ProductFeatures:
        """Reads what is kept of these backbones and products, and computes the rest.

        Args:
            retriever: Its backbones are frozen from here on.
            catalogue: Opened with photographs, if they shall be looked at.
            cache: Directory of content-addressed results.
        """
        device = retriever.device
        looks = catalogue.pixels is not None
        return cls(
            texts=product_features(retriever, catalogue.texts, cache=cache),
            images=image_features(retriever, catalogue, cache=cache) if looks else None,
            has_text=torch.from_numpy(catalogue.has_text).to(device),
            has_image=torch.from_numpy(catalogue.has_image).to(device),
            tokens=product_tokens(retriever, catalogue, cache=cache),
        )

    def __len__(self) -> int:
        """Number of products."""
        return len(self.texts)

    def tokens_of(self, rows: Tensor) -> ProductTokens | None:
        """Token states of some products, or None for a fusion that reads none."""
        return self.tokens.of(rows.numpy()) if self.tokens else None

    @torch.no_grad()
    def embedded(
        self,
        retriever: Retriever,
        rows: Tensor | None = None,
        *,
        text: bool = True,
        image: bool = True,
    ) -> Tensor:
        """Products by a retriever's heads and fusion as they are, `(rows, dim)`.

        Block by block: of a whole catalogue at once the layers would hold several times its
        features.

        Args:
            retriever: With the backbones that the features are of.
            rows: `(rows,)`, on the CPU; None for every product.
            text: Whether the texts may be read.
            image: Whether the photographs may be looked at.
        """
        blocks = [
            retriever.product_embedding(
                self.texts[block],
                None if self.images is None else self.images[block],
                has_text=self.has_text[block] & text,
                has_image=self.has_image[block] & image,
                tokens=self.tokens_of(block),
            )
            for block in (torch.arange(len(self)) if rows is None else rows).split(HEAD_ROWS)
        ]
        return torch.cat(blocks)
