"""Token states of frozen backbones, computed once for a fusion that reads them, kept by content.

Kept in float16 and read through memory maps: 44 thousand products with MiniLM (16 tokens of 384
channels) and the offline vision network (9 cells of 256) are 0.54 + 0.20 GB on disk, and a batch
touches only its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmr.atomic import make_once, new_directory
from mmr.hashing import sha256_json
from mmr.models.precision import bf16_autocast
from mmr.models.retriever import Retriever
from mmr.models.text import TextEncoder
from mmr.models.vision import ImageEncoder
from mmr.progress import progress_bar
from mmr.stages.features import module_hash
from mmr.training.data import Catalogue
from mmr.training.encoding import load_pixels
from mmr.training.kept_tokens import KeptTokens
from mmr.training.processes import accelerator
from mmr.types import Int64Array

_BATCH = 256
_LARGEST = float(np.finfo(np.float16).max)


def product_tokens(retriever: Retriever, catalogue: Catalogue, *, cache: Path) -> KeptTokens | None:
    """Token states of all products, or None for a fusion that reads none.

    Those of the text are of what the shop wrote; the words of document expansion reach a fusion by
    the text embedding alone.

    Args:
        retriever: Its backbones are frozen from here on.
        catalogue: Opened with photographs.
        cache: Directory of content-addressed results.
    """
    if not retriever.fusion.needs_tokens:
        return None
    if retriever.image_encoder is None:
        raise RuntimeError("a fusion of text and image tokens needs an image tower")
    sizes = retriever.settings.cross_attention
    text, lengths = _text_tokens(
        retriever.text_encoder,
        [retriever.settings.text.product_prefix + text for text in catalogue.own_texts],
        count=sizes.text_tokens,
        cache=cache,
    )
    image = _image_cells(retriever.image_encoder, catalogue, side=sizes.image_cells, cache=cache)
    return KeptTokens(text=text, lengths=lengths, image=image, device=retriever.device)


def _text_tokens(
    encoder: TextEncoder, texts: list[str], *, count: int, cache: Path
) -> tuple[NDArray[np.float16], Int64Array]:
    entry = cache / "text-tokens" / sha256_json([module_hash(encoder), count, texts])[:32]

    def blocks(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(texts), _BATCH):
            tokens = encoder.tokenize(texts[start : start + _BATCH], max_tokens=count)
            mask = tokens["attention_mask"]
            states = encoder.token_states(tokens["input_ids"].to(device), mask.to(device))
            yield states[:, :count], mask.sum(1)

    shape = (len(texts), count, encoder.state_channels)
    make_once(entry, lambda: _write(entry, shape, blocks, encoder, title="encode text tokens"))
    return np.load(entry / "states.npy", mmap_mode="r"), np.load(entry / "lengths.npy")


def _image_cells(
    encoder: ImageEncoder, catalogue: Catalogue, *, side: int, cache: Path
) -> NDArray[np.float16]:
    key = sha256_json([module_hash(encoder), side, catalogue.pixels_key])
    entry = cache / "image-cells" / key[:32]
    rows = np.arange(len(catalogue), dtype=np.int64)

    def blocks(device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(rows), _BATCH):
            pixels = load_pixels(catalogue, rows[start : start + _BATCH]).to(device)
            cells = encoder.cell_states(pixels, side=side)
            yield cells, torch.full((len(cells),), cells.shape[1])

    shape = (len(catalogue), side**2, encoder.state_channels)
    make_once(entry, lambda: _write(entry, shape, blocks, encoder, title="encode image cells"))
    states: NDArray[np.float16] = np.load(entry / "states.npy", mmap_mode="r")
    return states


@torch.no_grad()
def _write(
    out: Path,
    shape: tuple[int, int, int],
    blocks: Callable[[torch.device], Iterator[tuple[Tensor, Tensor]]],
    encoder: TextEncoder | ImageEncoder,
    *,
    title: str,
) -> None:
    """Writes `states.npy` and `lengths.npy` block by block; shorter rows end in zeros."""
    home, device = next(encoder.parameters()).device, accelerator().device
    encoder.to(device).eval()
    with new_directory(out) as scratch:
        states = np.lib.format.open_memmap(
            scratch / "states.npy", "w+", dtype=np.float16, shape=shape
        )
        lengths = np.zeros(shape[0], dtype=np.int64)
        start = 0
        with progress_bar(title, shape[0]) as bar, bf16_autocast(device):
            for block, real in blocks(device):
                end = start + len(block)
                whole = block.float().clamp(-_LARGEST, _LARGEST).cpu().numpy()
                states[start:end, : whole.shape[1]] = whole
                lengths[start:end] = real.numpy()
                start = end
                bar.advance(len(block))
        states.flush()
        np.save(scratch / "lengths.npy", lengths)
    encoder.to(home)
