"""The two towers as one module, and how a product's and a query's vector come about."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmr.config.model import FusionKind, ModelSettings
from mmr.models.fusion import Fusion, new_fusion
from mmr.models.heads import ImageHead, ProjectionHead
from mmr.models.text import TextEncoder, pretrained_text_encoder
from mmr.models.vision import ImageEncoder, new_image_encoder


class Retriever(nn.Module):
    """A text-only query tower and a product tower that fuses text and image.

    Both towers share the text backbone; each has a head of its own. Backbone features and heads
    are apart, because the features of a frozen backbone are computed once and kept.

    Args:
        settings: Sizes of all parts.
        text_encoder: The shared text backbone.
        image_encoder: The vision backbone; None in a text-only retriever.
        fusion: Text and image embedding to product embedding.
        kind: The fusion's kind, for storing.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder | None,
        fusion: Fusion,
        kind: FusionKind,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.kind = kind
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        self.query_head = self._text_head()
        self.text_head = self._text_head()
        self.image_head = self._image_head(image_encoder) if image_encoder else None
        self.fusion = fusion

    def _text_head(self) -> ProjectionHead:
        return ProjectionHead(
            self.text_encoder.hidden,
            self.settings.dim,
            hidden=self.settings.head_hidden,
            dropout=self.settings.dropout,
        )

    def _image_head(self, encoder: ImageEncoder) -> ImageHead:
        return ImageHead(
            encoder.pooled,
            encoder.colours,
            self.settings.dim,
            hidden=self.settings.head_hidden,
            dropout=self.settings.dropout,
        )

    @property
    def dim(self) -> int:
        """Channels of every embedding."""
        return self.settings.dim

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.query_head.linear.weight.device

    def image_embedding(self, pixels: Tensor) -> Tensor:
        """Embeddings of photographs, `(batch, dim)`, from `(batch, 3, height, width)` uint8."""
        if self.image_encoder is None or self.image_head is None:
            raise RuntimeError("a text-only retriever embeds no images")
        features: Tensor = self.image_encoder(pixels)
        embedding: Tensor = self.image_head(features)
        return embedding

    def product_embedding(
        self,
        text_features: Tensor,
        image_features: Tensor | None,
        *,
        has_text: Tensor,
        has_image: Tensor,
    ) -> Tensor:
        """Fused product embeddings from backbone features.

        Args:
            text_features: `(batch, hidden)`, of the text backbone.
            image_features: `(batch, features)`, of the vision backbone; None in a text-only
                retriever.
            has_text: `(batch,)`, bool.
            has_image: `(batch,)`, bool.

        Returns:
            `(batch, dim)`, unit length.
        """
        text, image = self.modality_embeddings(text_features, image_features)
        fused: Tensor = self.fusion(text, image, has_text=has_text, has_image=has_image)
        return fused

    def modality_embeddings(
        self, text_features: Tensor, image_features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the fusion is given: text and image embeddings, each `(batch, dim)`."""
        text: Tensor = self.text_head(text_features)
        image = torch.zeros_like(text)
        if image_features is not None and self.image_head is not None:
            image = self.image_head(image_features)
        return text, image

    def with_images(self) -> None:
        """Adds an image tower with fresh weights to a text-only retriever."""
        self.image_encoder = new_image_encoder(self.settings.vision)
        self.image_head = self._image_head(self.image_encoder)

    def with_fusion(self, kind: FusionKind) -> None:
        """Replaces the fusion by a fresh one."""
        self.kind = kind
        self.fusion = new_fusion(kind, self.settings)


def new_text_retriever(settings: ModelSettings) -> Retriever:
    """Builds a text-only retriever from the pretrained text backbone."""
    return Retriever(
        settings,
        text_encoder=pretrained_text_encoder(settings.text),
        image_encoder=None,
        fusion=new_fusion(FusionKind.TEXT_ONLY, settings),
        kind=FusionKind.TEXT_ONLY,
    )
