"""Outputs of frozen backbones, computed once and kept by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmr.atomic import make_once, new_file
from mmr.hashing import sha256_json
from mmr.models.precision import bf16_autocast
from mmr.models.retriever import Retriever
from mmr.models.text import TextEncoder, pooled_features
from mmr.models.vision import ImageEncoder
from mmr.progress import progress_bar
from mmr.training.data import Catalogue
from mmr.training.encoding import load_pixels
from mmr.training.processes import accelerator
from mmr.types import Int64Array

_TEXT_BATCH = 256
_IMAGE_BATCH = 256
HEAD_ROWS = 2_048  # of a catalogue that go through heads and fusion at once


def module_hash(module: nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def query_features(retriever: Retriever, queries: Sequence[str], *, cache: Path) -> Tensor:
    """Text backbone features of queries, `(queries, hidden)`, in full precision as served."""
    text = retriever.settings.text
    texts = [text.query_prefix + query for query in queries]
    return _kept_text(
        retriever.query_encoder, texts, text.max_query_tokens, cache=cache, exact=True
    )


def product_features(retriever: Retriever, texts: Sequence[str], *, cache: Path) -> Tensor:
    """Text backbone features of product texts, `(products, hidden)`; in bf16 where it is fast."""
    text = retriever.settings.text
    texts = [text.product_prefix + product for product in texts]
    return _kept_text(
        retriever.text_encoder, texts, text.max_product_tokens, cache=cache, exact=False
    )


def projected(head: nn.Module, features: Tensor) -> Tensor:
    """What a head makes of many rows, `(rows, dim)`, block by block.

    Of a whole catalogue at once the layers inside the head would hold several times its features.

    Args:
        head: Maps `(rows, features)` to `(rows, dim)`.
        features: `(rows, features)`.
    """
    return torch.cat([head(block) for block in features.split(HEAD_ROWS)])


def _kept_text(
    encoder: TextEncoder, texts: list[str], max_tokens: int, *, cache: Path, exact: bool
) -> Tensor:
    key = sha256_json(
        [module_hash(encoder), encoder.pooling, encoder.with_pieces, max_tokens, exact, texts]
    )
    home, device = next(encoder.parameters()).device, accelerator().device

    def compute() -> Tensor:
        encoder.to(device).eval()
        features = encoder.empty_features(len(texts), tokens=max_tokens)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # little padding
        with progress_bar("encode texts", len(texts)) as bar:
            for start in range(0, len(order), _TEXT_BATCH):
                rows = order[start : start + _TEXT_BATCH]
                batch = [texts[row] for row in rows]
                with bf16_autocast(device, enabled=not exact):
                    encoded = pooled_features(encoder, batch, max_tokens=max_tokens, device=device)
                features[rows, : encoded.shape[1]] = encoded.cpu()
                bar.advance(len(rows))
        encoder.to(home)
        return features

    return _kept(cache / "text-features" / f"{key[:32]}.npy", compute).to(home)


def image_features(retriever: Retriever, catalogue: Catalogue, *, cache: Path) -> Tensor:
    """Vision backbone features of all products, `(products, features)`."""
    encoder = retriever.image_encoder
    if encoder is None or catalogue.pixels is None:
        raise RuntimeError("image features need an image tower and photographs")
    key = sha256_json([module_hash(encoder), catalogue.pixels_key])
    rows = np.arange(len(catalogue), dtype=np.int64)

    def compute() -> Tensor:
        encoder.to(device := accelerator().device)
        features = encoded_images(encoder, catalogue, rows, device=device, show=True).cpu()
        encoder.to(retriever.device)
        return features

    return _kept(cache / "image-features" / f"{key[:32]}.npy", compute).to(retriever.device)


@torch.no_grad()
def encoded_images(
    encoder: ImageEncoder,
    catalogue: Catalogue,
    rows: Int64Array,
    *,
    device: torch.device,
    show: bool = False,
) -> Tensor:
    """Vision backbone features of some products, `(rows, features)`, without augmentation."""
    encoder.eval()
    features = torch.zeros(len(rows), encoder.features, device=device)

    def encode(bar_advance: Callable[[int], None]) -> None:
        for start in range(0, len(rows), _IMAGE_BATCH):
            block = rows[start : start + _IMAGE_BATCH]
            pixels = load_pixels(catalogue, block).to(device)
            with bf16_autocast(device):
                features[start : start + len(block)] = encoder(pixels).float()
            bar_advance(len(block))

    if show:
        with progress_bar("encode images", len(rows)) as bar:
            encode(lambda done: bar.advance(done))
    else:
        encode(lambda done: None)
    return features


def _kept(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    """Features that are kept, or are computed now by one of the processes that want them."""

    def make() -> None:
        features = compute()
        with new_file(path) as scratch, scratch.open("wb") as file:
            np.save(file, features.numpy())

    make_once(path, make)
    return torch.from_numpy(np.load(path))
