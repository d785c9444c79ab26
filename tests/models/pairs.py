"""Pairs of towers built from tiny checkpoints, and what the checkpoints' publishers compute."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel

from mmr.config.model import ModelSettings, TextSettings, VisionSettings
from mmr.data.decoding import decoded
from mmr.data.framing import Framing
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.models.tokenization import pretrained_tokenizer
from tests.models import checkpoints

PAIRS: dict[str, tuple[Callable[[Path], Path], int, int]] = {  # builder, dim, longest text
    "clip": (checkpoints.clip, 20, 77),
    "clip-of-openai": (lambda out: checkpoints.clip(out, eos_token_id=2), 20, 77),
    "siglip": (checkpoints.siglip, 16, 12),
    "siglip2": (lambda out: checkpoints.siglip(out, generation=2), 16, 12),
}


def settings_of(location: Path, **changes: Any) -> ModelSettings:
    dim, longest = PAIRS[location.name][1:] if location.name in PAIRS else (16, 32)
    return ModelSettings(
        dim=changes.pop("dim", dim),
        head_hidden=8,
        text=TextSettings(
            backbone=str(location), max_query_tokens=longest, max_product_tokens=longest
        ),
        vision=VisionSettings(backbone=str(location), colour_bins=2),
        **changes,
    )


def retriever_of(location: Path, **changes: Any) -> Retriever:
    retriever = new_text_retriever(settings_of(location, **changes))
    retriever.with_images()
    return retriever.eval()


def pictures(height: int = 40, width: int = 40) -> list[bytes]:
    """PNG files, so that all readers see the same pixels."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(3):
        small = random.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((width, height)).save(file, format="png")
        files.append(file.getvalue())
    return files


def as_stages_read(files: list[bytes], vision: VisionSettings) -> Tensor:
    framing = Framing(vision.fit, vision.resample)
    size = {"height": vision.height, "width": vision.width}
    return torch.stack(
        [torch.from_numpy(decoded(data, **size, framing=framing).copy()) for data in files]
    ).permute(0, 3, 1, 2)


def embedded_texts(retriever: Retriever, texts: list[str]) -> Tensor:
    text = retriever.settings.text
    encoder = retriever.query_encoder
    tokens = encoder.tokenize(
        [text.query_prefix + query for query in texts], max_tokens=text.max_query_tokens
    )
    return retriever.query_head(encoder(**tokens))


def own_answers(location: Path, texts: list[str], files: list[bytes]) -> tuple[Tensor, Tensor]:
    """Text and image embeddings as the checkpoint's publisher computes them."""
    model = AutoModel.from_pretrained(location).eval()
    tokenizer = pretrained_tokenizer(str(location), siglip=not location.name.startswith("clip"))
    tokens = tokenizer(
        texts,
        padding="max_length",
        max_length=PAIRS[location.name][2],
        truncation=True,
        return_tensors="pt",
    )
    if not location.name.startswith("clip"):
        tokens = {"input_ids": tokens["input_ids"]}  # SigLIP reads its padding
    processor = AutoImageProcessor.from_pretrained(location, backend="pil")
    images = [Image.open(io.BytesIO(data)) for data in files]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    text = model.get_text_features(**tokens).pooler_output
    image = model.get_image_features(pixel_values=pixels).pooler_output
    return F.normalize(text, dim=-1), F.normalize(image, dim=-1)
