"""SigLIP checkpoints in the layout of open_clip, read as transformers' own model.

Marqo-Ecommerce and other shop models are published this way: `open_clip_config.json`,
`open_clip_model.safetensors` and `tokenizer.json`. Their `config.json` names Python code of the
hub's, which mmr does not run; the architecture is SigLIP, so the weights are renamed instead.

Source: the layouts of open_clip 3.3 and timm 1.0 (state dicts), and of transformers' SiglipModel;
the conversion was checked against open_clip itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

OPEN_CLIP_CONFIG = "open_clip_config.json"
_LAYER = {
    "norm1": "layer_norm1",
    "ln_1": "layer_norm1",
    "norm2": "layer_norm2",
    "ln_2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES = {
    "logit_scale": "logit_scale",
    "logit_bias": "logit_bias",
    "visual.trunk.patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "visual.trunk.norm": "vision_model.post_layernorm",
    "visual.trunk.attn_pool.proj": "vision_model.head.attention.out_proj",
    "visual.trunk.attn_pool.norm": "vision_model.head.layernorm",
    "visual.trunk.attn_pool.mlp.fc1": "vision_model.head.mlp.fc1",
    "visual.trunk.attn_pool.mlp.fc2": "vision_model.head.mlp.fc2",
    "text.token_embedding": "text_model.embeddings.token_embedding",
    "text.ln_final": "text_model.final_layer_norm",
    "text.text_projection": "text_model.head",
}
_BLOCK = re.compile(
    r"(?:visual\.trunk\.blocks|text\.transformer\.resblocks)\.(\d+)\.(.+?)[._](weight|bias)"
)


def from_open_clip(described: Mapping[str, Any], weights: Path) -> SiglipModel:
    """Builds a SigLIP model from an open_clip checkpoint.

    Args:
        described: Content of `open_clip_config.json`.
        weights: `open_clip_model.safetensors`.

    Raises:
        ValueError: The architecture is another, or weights are missing.
    """
    settings = described["model_cfg"]
    if "siglip" not in settings["vision_cfg"].get("timm_model_name", ""):
        raise ValueError(
            f"{OPEN_CLIP_CONFIG} describes another architecture than SigLIP, and only that is read"
        )
    stored = load_file(weights)
    try:
        model = SiglipModel(_config(settings, stored))
        missing, unknown = model.load_state_dict(_renamed(stored), strict=False)
    except KeyError as error:
        raise ValueError(f"{weights} lacks {error}, which a SigLIP model has") from error
    if missing or unknown:
        raise ValueError(
            f"{weights} is no SigLIP model: {len(missing)} weights are missing and "
            f"{len(unknown)} unknown, such as {[*missing, *unknown][0]}"
        )
    return model.eval()


def _config(settings: Mapping[str, Any], stored: Mapping[str, Tensor]) -> SiglipConfig:
    text = settings["text_cfg"]
    patches = stored["visual.trunk.patch_embed.proj.weight"]  # (width, 3, patch, patch)
    width, patch = patches.shape[0], patches.shape[-1]
    grid = stored["visual.trunk.pos_embed"].shape[1]
    tanh = text.get("act_kwargs", {}).get("approximate") == "tanh"
    return SiglipConfig(
        text_config={
            "vocab_size": text["vocab_size"],
            "hidden_size": text["width"],
            "intermediate_size": stored["text.transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "projection_size": stored["text.text_projection.weight"].shape[0],
            "hidden_act": "gelu_pytorch_tanh" if tanh else "gelu",
            "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": stored["visual.trunk.blocks.0.mlp.fc1.bias"].shape[0],
            "num_hidden_layers": 1 + max(_layers(stored, "visual.trunk.blocks.")),
            "num_attention_heads": width * text["heads"] // text["width"],
            "image_size": round(grid**0.5) * patch,
            "patch_size": patch,
            "hidden_act": "gelu",
        },
    )


def _layers(stored: Mapping[str, Tensor], prefix: str) -> list[int]:
    return [int(name[len(prefix) :].split(".")[0]) for name in stored if name.startswith(prefix)]


def _renamed(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under transformers' names; a name that is not understood stays as it is."""
    left = dict(stored)
    renamed = {
        "vision_model.embeddings.position_embedding.weight": left.pop("visual.trunk.pos_embed")[0],
        "text_model.embeddings.position_embedding.weight": left.pop("text.positional_embedding"),
        "vision_model.head.probe": left.pop("visual.trunk.attn_pool.latent"),
    }
    for kind in ("weight", "bias"):  # one map for query, key and value of the pooling
        apart = [left.pop(f"visual.trunk.attn_pool.{part}.{kind}") for part in ("q", "kv")]
        renamed[f"vision_model.head.attention.in_proj_{kind}"] = torch.cat(apart)
    for name, value in left.items():
        block = _BLOCK.fullmatch(name)
        part, _, kind = name.rpartition(".")
        if block:
            renamed |= _of_block(name, value, *block.groups())
        elif name in _NAMES:
            renamed[_NAMES[name]] = value.reshape(1)
        else:
            renamed[f"{_NAMES.get(part, part)}.{kind}"] = value
    return renamed


def _of_block(name: str, value: Tensor, number: str, part: str, kind: str) -> dict[str, Tensor]:
    """A weight of a transformer block, whose query, key and value have maps of their own."""
    side = "vision_model" if name.startswith("visual") else "text_model"
    prefix = f"{side}.encoder.layers.{number}"
    if part in {"attn.qkv", "attn.in_proj"}:
        thirds = zip("qkv", value.chunk(3), strict=True)
        return {f"{prefix}.self_attn.{letter}_proj.{kind}": third for letter, third in thirds}
    return {f"{prefix}.{_LAYER.get(part, part)}.{kind}": value}
