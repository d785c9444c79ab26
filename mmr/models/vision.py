"""The vision backbone: a product photograph in, one pooled vector out."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from mmr.config.model import VisionSettings
from mmr.errors import ConfigError
from mmr.models.backbones import (
    backbone_of_shape,
    is_aligned_half,
    pretrained_vision_backbone,
)
from mmr.models.colour import ColourHistogram
from mmr.models.preprocessing import with_checkpoint_preprocessing
from mmr.models.text import unit_channels

_CLASS_TOKEN = {"vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "beit"}
_OWN_POOLING = {"convnext", "convnextv2"}
_SAFE_CHANNELS = 16


class ImageEncoder(nn.Module):
    """Reads a product photograph into one vector, without a head.

    Args:
        backbone: A Hugging Face vision model with a spatial or token `last_hidden_state`.
        settings: Pooling, size, normalisation of the channels, bins of the colour histogram;
            nothing is left for the checkpoint to decide.

    Shape:
        - pixels: `(batch, 3, height, width)`, uint8.
        - output: `(batch, pooled + colours)`: the backbone's channels, then the colour histograms.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: PreTrainedModel, settings: VisionSettings) -> None:
        super().__init__()
        self._layout = _fast_safe_layout(backbone)
        self.backbone = backbone.to(memory_format=self._layout)
        self.settings = settings
        self.register_buffer("mean", torch.tensor(settings.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(3, 1, 1), persistent=False)
        self.aligned = settings.pooling == "own" and is_aligned_half(backbone.config)
        self.state_channels = _state_channels(backbone.config)
        self.pooled = self.state_channels
        if self.aligned:
            self.pooled = getattr(backbone.config, "projection_dim", self.state_channels)
        self.histogram = None
        if settings.colour_bins:
            self.histogram = ColourHistogram(
                settings.colour_bins, heads=settings.colour_heads, channels=self.state_channels
            )
        self.colours = self.histogram.channels if self.histogram is not None else 0
        self.features = self.pooled + self.colours
        self.norm = None if self.aligned else nn.LayerNorm(self.pooled)
        self._options = _size_options(backbone, settings)

    def forward(self, pixels: Tensor) -> Tensor:
        shares = pixels.float() / 255
        output = self._run(shares)
        pooled = self._pool(output)
        pooled = unit_channels(pooled) if self.norm is None else self.norm(pooled.float())
        if self.histogram is None:
            return pooled
        # a histogram has unit length; scaled up so that it weighs like the pooled channels
        colours = (
            self.histogram(shares, self._grid(output.last_hidden_state)) * pooled.shape[1] ** 0.5
        )
        return torch.cat([pooled, colours], dim=-1)

    def cell_states(self, pixels: Tensor, *, side: int) -> Tensor:
        """The backbone's states before pooling, on a grid of `side` by `side` cells.

        Returns:
            `(batch, side ** 2, state_channels)`, row by row.
        """
        states = self._grid(self._run(pixels.float() / 255).last_hidden_state)
        return F.adaptive_avg_pool2d(states, side).flatten(2).mT

    def _run(self, shares: Tensor) -> Any:
        inputs = ((shares - self.mean) / self.std).contiguous(memory_format=self._layout)
        return self.backbone(pixel_values=inputs, **self._options)

    def _pool(self, output: Any) -> Tensor:
        if self.settings.pooling == "own":
            image_embeds: Tensor | None = getattr(output, "image_embeds", None)
            own: Tensor = output.pooler_output if image_embeds is None else image_embeds
            return own.flatten(1)
        if self.settings.pooling == "cls":
            first: Tensor = output.last_hidden_state[:, 0]
            return first
        return self._grid(output.last_hidden_state).mean((2, 3))

    def _grid(self, states: Tensor) -> Tensor:
        """States as `(batch, channels, rows, columns)`, without class and register tokens."""
        if states.ndim == 4:
            return states
        patch = int(self.backbone.config.patch_size)
        rows, columns = self.settings.height // patch, self.settings.width // patch
        patches = states[:, states.shape[1] - rows * columns :]
        grid: Tensor = patches.mT.unflatten(2, (rows, columns))
        return grid


def _fast_safe_layout(backbone: nn.Module) -> torch.memory_format:
    """How images lie in memory: channels last, which convolutions like, unless that breaks them.

    On CPUs with AVX-512 oneDNN writes out of bounds with it in training, where a strided 1 by 1
    convolution has fewer than 16 channels (uxlfoundation/oneDNN, issue 6035).
    """
    breaks = any(
        layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < _SAFE_CHANNELS
        for layer in backbone.modules()
        if isinstance(layer, nn.Conv2d)
    )
    return torch.contiguous_format if breaks else torch.channels_last


def _state_channels(config: PretrainedConfig) -> int:
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[-1] if sizes else config.hidden_size)


def _size_options(backbone: PreTrainedModel, settings: VisionSettings) -> dict[str, bool]:
    """Lets a transformer read another size than it was trained for: its places are interpolated."""
    size = getattr(backbone.config, "image_size", None)
    trained = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    parameters = inspect.signature(backbone.forward).parameters
    if "interpolate_pos_encoding" not in parameters or trained == (settings.height, settings.width):
        return {}
    return {"interpolate_pos_encoding": True}


def new_image_encoder(settings: VisionSettings) -> ImageEncoder:
    """Builds the vision backbone that the settings name: from a configuration or a checkpoint.

    What the settings leave to the checkpoint is decided here; `ImageEncoder.settings` tells how.

    Raises:
        ConfigError: The configuration is wrong or no such checkpoint can be had.
    """
    settings = with_checkpoint_preprocessing(settings)
    if settings.backbone != "config":
        backbone = pretrained_vision_backbone(settings.backbone)
    else:
        try:
            backbone = AutoModel.from_config(AutoConfig.for_model(**settings.architecture))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"The vision backbone cannot be built from model.vision.architecture ({error}). "
                "Its fields are those of a Hugging Face configuration."
            ) from error
    pooling = settings.pooling
    if pooling == "checkpoint":
        pooling = _trained_pooling(backbone.config) if settings.backbone != "config" else "mean"
    _check_pooling(backbone.config, pooling)
    settings = settings.model_copy(update={"pooling": pooling})
    return ImageEncoder(backbone, settings)


def _trained_pooling(config: PretrainedConfig) -> Literal["mean", "cls", "own"]:
    if is_aligned_half(config) or config.model_type in _OWN_POOLING:
        return "own"
    return "cls" if config.model_type in _CLASS_TOKEN else "mean"


def _check_pooling(config: PretrainedConfig, pooling: str) -> None:
    has_class_token = config.model_type in {*_CLASS_TOKEN, "clip_vision_model"}
    has_own = config.model_type in _OWN_POOLING or is_aligned_half(config)
    if (pooling == "cls" and not has_class_token) or (pooling == "own" and not has_own):
        raise ConfigError(
            f"A vision backbone of the kind {config.model_type} cannot be pooled by `{pooling}`. "
            "Set model.vision.pooling to `checkpoint` or `mean`."
        )


def stored_image_encoder(directory: Path, settings: VisionSettings) -> ImageEncoder:
    """Builds the image encoder of a stored model: its shape, not yet its weights."""
    backbone = backbone_of_shape(directory)
    return ImageEncoder(backbone, settings)


def save_image_shape(encoder: ImageEncoder, directory: Path) -> None:
    """Stores the configuration that `stored_image_encoder` reads."""
    encoder.backbone.config.save_pretrained(directory)
