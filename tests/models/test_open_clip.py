"""Checkpoints in open_clip's layout, against a plain reading of what open_clip computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from mmr.config.model import TextSettings, VisionSettings
from mmr.errors import ConfigError
from mmr.models.text import pretrained_text_encoder
from mmr.models.vision import new_image_encoder
from tests.models.checkpoints import TEXTS, sentence_pieces

WIDTH, HEADS, LAYERS, HIDDEN, PATCH, GRID, LENGTH = 16, 2, 2, 24, 8, 4, 12


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a SigLIP model as open_clip 3.3 with timm 1.0 saves it."""
    linear = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}
    norm = {"weight": (WIDTH,), "bias": (WIDTH,)}
    up = {"weight": (HIDDEN, WIDTH), "bias": (HIDDEN,)}
    down = {"weight": (WIDTH, HIDDEN), "bias": (WIDTH,)}
    threefold = {"weight": (3 * WIDTH, WIDTH), "bias": (3 * WIDTH,)}
    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "visual.trunk.patch_embed.proj": {"weight": (WIDTH, 3, PATCH, PATCH), "bias": (WIDTH,)},
        "visual.trunk.norm": norm,
        "visual.trunk.attn_pool.q": linear,
        "visual.trunk.attn_pool.kv": {"weight": (2 * WIDTH, WIDTH), "bias": (2 * WIDTH,)},
        "visual.trunk.attn_pool.proj": linear,
        "visual.trunk.attn_pool.norm": norm,
        "visual.trunk.attn_pool.mlp.fc1": up,
        "visual.trunk.attn_pool.mlp.fc2": down,
        "text.token_embedding": {"weight": (vocabulary, WIDTH)},
        "text.ln_final": norm,
        "text.text_projection": linear,
    }
    for layer in range(LAYERS):
        vision, text = f"visual.trunk.blocks.{layer}", f"text.transformer.resblocks.{layer}"
        parts |= {f"{vision}.norm1": norm, f"{vision}.norm2": norm}
        parts |= {f"{vision}.attn.qkv": threefold, f"{vision}.attn.proj": linear}
        parts |= {f"{vision}.mlp.fc1": up, f"{vision}.mlp.fc2": down}
        parts |= {f"{text}.ln_1": norm, f"{text}.ln_2": norm, f"{text}.attn.out_proj": linear}
        parts |= {f"{text}.mlp.c_fc": up, f"{text}.mlp.c_proj": down}
    named = {
        f"{part}.{kind}": shape for part, kinds in parts.items() for kind, shape in kinds.items()
    }
    for layer in range(LAYERS):
        for kind, shape in threefold.items():
            named[f"text.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = shape
    named["visual.trunk.pos_embed"] = (1, GRID**2, WIDTH)
    named["visual.trunk.attn_pool.latent"] = (1, 1, WIDTH)
    named["text.positional_embedding"] = (LENGTH, WIDTH)
    return {**named, "logit_scale": (), "logit_bias": ()}


@pytest.fixture
def location(tmp_path: Path) -> Path:
    home = tmp_path / "shop-siglip"
    pieces = sentence_pieces()
    PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="</s>", eos_token="</s>", model_max_length=LENGTH
    ).save_pretrained(home)
    torch.manual_seed(0)
    weights = {
        name: torch.randn(shape) * 0.3 for name, shape in shapes(pieces.get_vocab_size()).items()
    }
    save_file(weights, home / "open_clip_model.safetensors")
    described = {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "image_size": GRID * PATCH,
                "timm_model_name": "vit_base_patch16_siglip_224",
                "timm_pool": "map",
            },
            "text_cfg": {
                "context_length": LENGTH,
                "vocab_size": pieces.get_vocab_size(),
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "width": WIDTH,
                "heads": HEADS,
                "layers": LAYERS,
                "no_causal_mask": True,
                "pool_type": "last",
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (home / "open_clip_config.json").write_text(json.dumps(described))
    code = {"model_type": "siglip", "auto_map": {"AutoModel": "marqo_fashionSigLIP.Model"}}
    (home / "config.json").write_text(json.dumps(code))
    return home


class Plain:
    """A SigLIP model's arithmetic, written out."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        answers, size = [], WIDTH // HEADS
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / size**0.5
            answers.append(scores.softmax(-1) @ v[:, part])
        return torch.cat(answers, -1)

    def block(self, x: Tensor, names: dict[str, str], threefold: tuple[Tensor, Tensor]) -> Tensor:
        weight, bias = threefold
        q, k, v = (self.norm(names["norm1"], x) @ weight.T + bias).chunk(3, -1)
        x = x + self.linear(names["out"], self.attend(q, k, v))
        hidden = F.gelu(self.linear(names["fc1"], self.norm(names["norm2"], x)))
        return x + self.linear(names["fc2"], hidden)

    def image(self, pixels: Tensor) -> Tensor:
        trunk, weights = "visual.trunk", self.weights
        patches = [
            (pixels[:, y : y + PATCH, x : x + PATCH] * weights[f"{trunk}.patch_embed.proj.weight"])
            .flatten(1)
            .sum(1)
            for y in range(0, GRID * PATCH, PATCH)
            for x in range(0, GRID * PATCH, PATCH)
        ]
        states = torch.stack(patches) + weights[f"{trunk}.patch_embed.proj.bias"]
        states = states + weights[f"{trunk}.pos_embed"][0]
        for layer in range(LAYERS):
            block = f"{trunk}.blocks.{layer}"
            names = {"norm1": f"{block}.norm1", "norm2": f"{block}.norm2"}
            names |= {"out": f"{block}.attn.proj"}
            names |= {"fc1": f"{block}.mlp.fc1", "fc2": f"{block}.mlp.fc2"}
            qkv = (weights[f"{block}.attn.qkv.weight"], weights[f"{block}.attn.qkv.bias"])
            states = self.block(states, names, qkv)
        states, pool = self.norm(f"{trunk}.norm", states), f"{trunk}.attn_pool"
        q = self.linear(f"{pool}.q", weights[f"{pool}.latent"][0])
        k, v = self.linear(f"{pool}.kv", states).chunk(2, -1)
        pooled = self.linear(f"{pool}.proj", self.attend(q, k, v))
        hidden = F.gelu(self.linear(f"{pool}.mlp.fc1", self.norm(f"{pool}.norm", pooled)))
        return (pooled + self.linear(f"{pool}.mlp.fc2", hidden))[0]

    def text(self, ids: Tensor) -> Tensor:
        weights = self.weights
        states = weights["text.token_embedding.weight"][ids] + weights["text.positional_embedding"]
        for layer in range(LAYERS):
            block = f"text.transformer.resblocks.{layer}"
            names = {"norm1": f"{block}.ln_1", "norm2": f"{block}.ln_2"}
            names |= {"out": f"{block}.attn.out_proj"}
            names |= {"fc1": f"{block}.mlp.c_fc", "fc2": f"{block}.mlp.c_proj"}
            qkv = (weights[f"{block}.attn.in_proj_weight"], weights[f"{block}.attn.in_proj_bias"])
            states = self.block(states, names, qkv)
        return self.linear("text.text_projection", self.norm("text.ln_final", states)[-1])


def text_encoder_of(location: Path) -> Any:
    limits = {"max_query_tokens": LENGTH, "max_product_tokens": LENGTH, "words": False}
    return pretrained_text_encoder(TextSettings(backbone=str(location), **limits)).eval()


@torch.no_grad()
def test_an_open_clip_checkpoint_embeds_as_open_clip_does(location: Path) -> None:
    plain = Plain(load_file(location / "open_clip_model.safetensors"))
    text = text_encoder_of(location)
    image = new_image_encoder(VisionSettings(backbone=str(location), colour_bins=0)).eval()
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (2, 3, GRID * PATCH, GRID * PATCH), dtype=torch.uint8)

    texts, images = text(**text.tokenize(TEXTS, max_tokens=LENGTH)), image(pixels)

    for row, query in enumerate(TEXTS):
        ids = text.tokenizer(query, truncation=True, max_length=LENGTH)["input_ids"]
        filled = torch.tensor(ids + [1] * (LENGTH - len(ids)))  # </s>, as SigLIP pads
        expected = F.normalize(plain.text(filled), dim=-1) * WIDTH**0.5
        torch.testing.assert_close(texts[row], expected, atol=1e-4, rtol=1e-4)
    for row in range(2):
        expected = F.normalize(plain.image(pixels[row] / 255 * 2 - 1), dim=-1) * WIDTH**0.5
        torch.testing.assert_close(images[row], expected, atol=1e-4, rtol=1e-4)


def test_its_preprocessing_and_cleaning_are_open_clips(location: Path) -> None:
    settings = new_image_encoder(VisionSettings(backbone=str(location))).settings
    tokenizer = text_encoder_of(location).tokenizer

    assert (settings.height, settings.fit, settings.resample) == (32, "stretch", "bicubic")
    assert tokenizer("White,  OAK_table!")["input_ids"] == tokenizer("white oak table")["input_ids"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("visual.trunk.norm.bias", None, "1 weights are missing"),
        ("visual.trunk.attn_pool.q.bias", None, "lacks"),
        ("visual.trunk.strange.weight", torch.zeros(2), "1 unknown"),
    ],
)
def test_other_weights_are_refused(
    location: Path, name: str, value: Tensor | None, words: str
) -> None:
    file = location / "open_clip_model.safetensors"
    weights = load_file(file)
    weights.pop(name, None)
    save_file(weights if value is None else {**weights, name: value}, file)

    with pytest.raises(ConfigError, match=words):
        new_image_encoder(VisionSettings(backbone=str(location)))


def test_another_architecture_of_open_clip_is_refused(location: Path) -> None:
    file = location / "open_clip_config.json"
    described = json.loads(file.read_text())
    del described["model_cfg"]["vision_cfg"]["timm_model_name"]
    file.write_text(json.dumps(described))

    with pytest.raises(ConfigError, match="another architecture than SigLIP"):
        text_encoder_of(location)
