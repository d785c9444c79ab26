"""The two towers as one module, and how a product's and a query's vector come about."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmr.config.model import FusionKind, ModelSettings
from mmr.models.axes import principal_axes
from mmr.models.fusion import new_fusion
from mmr.models.fusion_base import Fusion, ProductTokens, TokenChannels
from mmr.models.heads import ImageHead, TextHead
from mmr.models.text import TextEncoder, pretrained_text_encoder
from mmr.models.vision import ImageEncoder, new_image_encoder
from mmr.models.words import WordTable


class Retriever(nn.Module):
    """A text-only query tower and a product tower that fuses text and image.

    Both towers share the text backbone, unless queries have an encoder of their own; each has a
    head of its own. Backbone features and heads are apart, because the features of a frozen
    backbone are computed once and kept.

    Args:
        settings: Sizes of all parts.
        text_encoder: The text backbone of products, and of queries too as a rule.
        own_query_encoder: The text backbone of queries where they have their own, as in MAKE
            (arXiv:2301.12646), which has three encoders.
        image_encoder: The vision backbone; None in a text-only retriever.
        fusion: Text and image embedding to product embedding.
        kind: The fusion's kind, for storing.
        words: Vectors of the shop's word pieces, shared by both towers; None leaves them out.

    Attributes:
        image_only_head: The image head of products without a text; without one, `image_head`
            serves them too.
        axes: `(dim, dim)`, the turn that queries and products leave the model by; None for none.
    """

    axes: Tensor | None

    def __init__(
        self,
        settings: ModelSettings,
        *,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder | None,
        fusion: Fusion,
        kind: FusionKind,
        own_query_encoder: TextEncoder | None = None,
        words: WordTable | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.kind = kind
        self.text_encoder = text_encoder
        self.own_query_encoder = own_query_encoder
        self.image_encoder = image_encoder
        self.words = words
        self.query_head = self._text_head()
        self.text_head = self._text_head()
        self.image_head = self._image_head(image_encoder) if image_encoder else None
        self.image_only_head: ImageHead | None = None
        self.fusion = fusion
        self.register_buffer("axes", None)

    def _text_head(self) -> TextHead:
        return TextHead(
            self.text_encoder.hidden,
            self.settings.dim,
            hidden=self.settings.head_hidden,
            dropout=self.settings.dropout,
            words=self.words,
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
    def query_encoder(self) -> TextEncoder:
        """The text backbone that reads queries: their own, or the shared one."""
        return self.own_query_encoder or self.text_encoder

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
        tokens: ProductTokens | None = None,
    ) -> Tensor:
        """Fused product embeddings from backbone features, before `served`.

        Args:
            text_features: `(batch, hidden)`, of the text backbone.
            image_features: `(batch, features)`, of the vision backbone; None in a text-only
                retriever.
            has_text: `(batch,)`, bool.
            has_image: `(batch,)`, bool.
            tokens: Token states, for a fusion that reads them.

        Returns:
            `(batch, dim)`, unit length.
        """
        text, image = self.modality_embeddings(text_features, image_features, has_text=has_text)
        fused: Tensor = self.fusion(
            text, image, has_text=has_text, has_image=has_image, tokens=tokens
        )
        if self.image_only_head is None:
            return fused
        return torch.where((has_image & ~has_text).unsqueeze(1), image, fused)

    def modality_embeddings(
        self, text_features: Tensor, image_features: Tensor | None, *, has_text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the fusion is given: text and image embeddings, each `(batch, dim)`."""
        text: Tensor = self.text_head(text_features)
        image = torch.zeros_like(text)
        if image_features is not None and self.image_head is not None:
            image = self.image_head(image_features)
            if self.image_only_head is not None and not bool(has_text.all()):
                alone: Tensor = self.image_only_head(image_features)
                image = torch.where(has_text.unsqueeze(1), image, alone)
        return text, image

    def served(self, embeddings: Tensor) -> Tensor:
        """Embeddings of queries or products as they leave the model, `(batch, dim)`.

        Training and fusion know nothing of the axes: a turn changes no score.
        """
        return embeddings if self.axes is None else embeddings @ self.axes

    def with_words(self, texts: Sequence[str]) -> None:
        """Gives each word piece of some texts a vector of its own, which starts at zero."""
        self.words = WordTable.of_shop(self.text_encoder, texts, dim=self.dim).to(self.device)
        for head in (self.query_head, self.text_head):
            head.look_up(self.words)

    def text_parts(self, *, rate: float, word_rate: float) -> dict[nn.Module, float]:
        """What learns of the text side above the backbone, with its learning rates."""
        parts: dict[nn.Module, float] = {self.query_head: rate, self.text_head: rate}
        if self.words is not None:
            parts[self.words] = word_rate
        return parts

    def with_images(self) -> None:
        """Adds an image tower with fresh weights to a text-only retriever."""
        self.image_encoder = new_image_encoder(self.settings.vision).to(self.device)
        vision = self.image_encoder.settings  # with what the checkpoint decides
        self.settings = self.settings.model_copy(update={"vision": vision})
        self.image_head = self._image_head(self.image_encoder).to(self.device)

    def with_image_only_head(self) -> None:
        """Gives products without a text an image head of their own, which starts as a copy."""
        self.image_only_head = copy.deepcopy(self.image_head)

    def with_principal_axes(self, products: Tensor) -> None:
        """Turns what is served so that its first dimensions say most of the products.

        Args:
            products: `(products, dim)`, embeddings before any turn.
        """
        self.axes = principal_axes(products)

    def with_fusion(self, kind: FusionKind) -> None:
        """Replaces the fusion by a fresh one."""
        self.kind, self.image_only_head, self.axes = kind, None, None
        channels = token_channels(self.text_encoder, self.image_encoder)
        self.fusion = new_fusion(kind, self.settings, channels).to(self.device)


def token_channels(text: TextEncoder, image: ImageEncoder | None) -> TokenChannels:
    """Channels of the backbones' token states; 0 for an image tower that is not there."""
    return TokenChannels(text.state_channels, image.state_channels if image else 0)


def new_text_retriever(settings: ModelSettings) -> Retriever:
    """Builds a text-only retriever from the pretrained text backbone."""
    text = pretrained_text_encoder(settings.text)
    known = settings.text.model_copy(update={"pooling": text.pooling})
    settings = settings.model_copy(update={"text": known})
    return Retriever(
        settings,
        text_encoder=text,
        own_query_encoder=copy.deepcopy(text) if settings.text.own_query_encoder else None,
        image_encoder=None,
        fusion=new_fusion(FusionKind.TEXT_ONLY, settings, token_channels(text, None)),
        kind=FusionKind.TEXT_ONLY,
    )
