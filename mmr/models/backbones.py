"""Loads pretrained backbones by directory or hub name: whole pairs, and the half that is needed.

A pair (CLIP, SigLIP, SigLIP 2) has a text and a vision half whose projections lie in one space.
Halves are kept with their projections, so that towers built on them start aligned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PretrainedConfig,
    PreTrainedModel,
    SiglipModel,
    SiglipTextModel,
    SiglipVisionModel,
)
from transformers.utils import cached_file
from transformers.utils.logging import disable_progress_bar

from mmr.errors import ConfigError
from mmr.models.open_clip import OPEN_CLIP_CONFIG, from_open_clip

disable_progress_bar()  # of loading weights; ours tell of long work

_HALVES: dict[str, type[PreTrainedModel]] = {
    "clip_text_model": CLIPTextModelWithProjection,
    "clip_vision_model": CLIPVisionModelWithProjection,
    "siglip_text_model": SiglipTextModel,
    "siglip_vision_model": SiglipVisionModel,
}


def is_aligned_half(config: PretrainedConfig) -> bool:
    """Whether a backbone is half of a pair, with its projection into the space of the pair."""
    return config.model_type in _HALVES


def pretrained_text_backbone(location: str) -> PreTrainedModel:
    """The text backbone of a checkpoint, in float32.

    Raises:
        ConfigError: There is no such checkpoint, it cannot be had, or it reads no text.
    """
    model = _load(location)
    if isinstance(model, CLIPModel):
        text = CLIPTextModelWithProjection(_clip_half(model.config, "text_config"))
        text.text_model, text.text_projection = model.text_model, model.text_projection
        return text
    if isinstance(model, SiglipModel):
        return model.text_model
    return _without_unused_pooler(_reading(model, "input_ids", location))


def pretrained_vision_backbone(location: str) -> PreTrainedModel:
    """The vision backbone of a checkpoint, in float32.

    Raises:
        ConfigError: There is no such checkpoint, it cannot be had, or it reads no images.
    """
    model = _load(location)
    if isinstance(model, CLIPModel):
        vision = CLIPVisionModelWithProjection(_clip_half(model.config, "vision_config"))
        vision.vision_model = model.vision_model
        vision.visual_projection = model.visual_projection
        return vision
    if isinstance(model, SiglipModel):
        return model.vision_model
    return _without_unused_pooler(_reading(model, "pixel_values", location))


def backbone_of_shape(directory: Path) -> PreTrainedModel:
    """A backbone with the configuration that a stored model holds, not yet with its weights."""
    config = AutoConfig.from_pretrained(directory)
    half = _HALVES.get(config.model_type)
    return half(config) if half else _without_unused_pooler(AutoModel.from_config(config))


def checkpoint_json(location: str, name: str) -> dict[str, Any] | None:
    """A JSON file of a checkpoint, or None where it has no such file."""
    try:
        file = cached_file(location, name)
    except OSError:
        return None
    content: dict[str, Any] = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    return content


def open_clip_description(location: str) -> dict[str, Any] | None:
    """What `open_clip_config.json` says of a checkpoint that transformers itself cannot load."""
    described = checkpoint_json(location, OPEN_CLIP_CONFIG)
    if described is None:
        return None
    own = checkpoint_json(location, "config.json")
    return described if own is None or "auto_map" in own else None


def _load(location: str) -> PreTrainedModel:
    try:
        described = open_clip_description(location)
        if described is not None:
            weights = cached_file(location, "open_clip_model.safetensors")
            return from_open_clip(described, Path(str(weights)))
        model, found = AutoModel.from_pretrained(
            location, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"The backbone {location} cannot be loaded ({str(error).splitlines()[0]}). Name a "
            "checkpoint directory, or a hub model that this machine can reach or has in its cache."
        ) from error
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise ConfigError(
            f"The backbone {location} lacks {len(missing)} weights of its architecture "
            f"{model.config.model_type}, such as {missing[0]}. Name a complete checkpoint."
        )
    if model.config.model_type == "siglip2":
        raise ConfigError(
            f"The backbone {location} takes images of changing size (NaFlex), which mmr does not. "
            "Name one of fixed size, such as google/siglip2-base-patch16-224."
        )
    return model


def _clip_half(config: CLIPConfig, name: str) -> Any:
    """The configuration of one half, which has to know the size of the common space."""
    half = getattr(config, name)
    half.projection_dim = config.projection_dim
    return half


def _reading(model: PreTrainedModel, input_name: str, location: str) -> PreTrainedModel:
    if model.main_input_name != input_name:
        raise ConfigError(
            f"The backbone {location} reads {model.main_input_name}, not {input_name}: it is no "
            f"{'text' if input_name == 'input_ids' else 'vision'} backbone. Name another."
        )
    return model


def _without_unused_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Drops the pooler of BERT and ViT: no vector needs it, and many checkpoints lack its weights.

    Left in, it would be random, and so would the fingerprint of the encoder.
    """
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model
