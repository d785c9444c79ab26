"""The vision backbone: a product photograph in, one pooled vector out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from mmr.config.model import VisionSettings
from mmr.errors import ConfigError
from mmr.models.heads import ColourHistogram


class ImageEncoder(nn.Module):
    """Reads a product photograph into one vector, without a head.

    Args:
        backbone: A Hugging Face vision model with a spatial or token `last_hidden_state`.
        settings: Normalisation of the channels, and bins of the colour histogram.

    Shape:
        - pixels: `(batch, 3, height, width)`, uint8.
        - output: `(batch, pooled + colours)`: the backbone's channels, then the colour histogram.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, settings: VisionSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.histogram = ColourHistogram(settings.colour_bins) if settings.colour_bins else None
        self.register_buffer("mean", torch.tensor(settings.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(3, 1, 1), persistent=False)
        self.pooled = _feature_channels(backbone)
        self.colours = settings.colour_bins**3
        self.features = self.pooled + self.colours
        self.norm = nn.LayerNorm(self.pooled)

    @property
    def state_channels(self) -> int:
        """Channels of `cell_states`."""
        return _feature_channels(self.backbone)

    def cell_states(self, pixels: Tensor, *, side: int) -> Tensor:
        """The backbone's states before pooling, on a grid of `side` by `side` cells.

        Returns:
            `(batch, side ** 2, state_channels)`, row by row.
        """
        states = self._states(pixels.float() / 255)
        return F.adaptive_avg_pool2d(states, side).flatten(2).mT

    def _states(self, shares: Tensor) -> Tensor:
        inputs = ((shares - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        states: Tensor = self.backbone(pixel_values=inputs).last_hidden_state
        return states

    def forward(self, pixels: Tensor) -> Tensor:
        shares = pixels.float() / 255
        states = self._states(shares)
        pooled: Tensor = states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
        pooled = self.norm(pooled.float())
        if self.histogram is None:
            return pooled
        # the histogram has unit length; scaled up so that it weighs like the pooled channels
        colours = self.histogram(shares) * pooled.shape[1] ** 0.5
        return torch.cat([pooled, colours], dim=-1)


def _feature_channels(backbone: nn.Module) -> int:
    config = backbone.config
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[-1] if sizes else config.hidden_size)  # type: ignore[union-attr,arg-type]


def new_image_encoder(settings: VisionSettings) -> ImageEncoder:
    """Builds the vision backbone that the settings name: from a configuration or a checkpoint.

    Raises:
        ConfigError: The configuration is wrong or no such checkpoint can be had.
    """
    try:
        if settings.backbone == "config":
            backbone = AutoModel.from_config(AutoConfig.for_model(**settings.architecture))
        else:
            model = AutoModel.from_pretrained(settings.backbone)
            backbone = getattr(model, "vision_model", model)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"The vision backbone {settings.backbone} cannot be built ({error}). Set "
            "model.vision.backbone to `config`, a checkpoint directory, or a hub model's name."
        ) from error
    return ImageEncoder(backbone.to(memory_format=torch.channels_last), settings)


def stored_image_encoder(directory: Path, settings: VisionSettings) -> ImageEncoder:
    """Builds the image encoder of a stored model: its shape, not yet its weights."""
    backbone = AutoModel.from_config(AutoConfig.from_pretrained(directory))
    return ImageEncoder(backbone.to(memory_format=torch.channels_last), settings)


def save_image_shape(encoder: ImageEncoder, directory: Path) -> None:
    """Stores the configuration that `stored_image_encoder` reads."""
    encoder.backbone.config.save_pretrained(directory)  # type: ignore[union-attr,operator]
