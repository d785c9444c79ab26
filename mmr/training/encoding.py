"""From the rows of a batch to embeddings: each process encodes its part, all get the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr.models.retriever import Retriever
from mmr.training.augment import augmented
from mmr.training.data import Catalogue
from mmr.training.grad_cache import encoded_in_parts
from mmr.training.processes import gathered, own_part, process_count
from mmr.training.text_source import TextSource
from mmr.types import Int64Array


def text_embeddings(
    retriever: Retriever, text: TextSource, rows: Int64Array, *, fold: int | None = None
) -> Tensor:
    """Text embeddings of some products, `(rows, dim)`; each process encodes its part.

    Args:
        retriever: Its text head is used.
        text: Features.
        rows: Of the catalogue.
        fold: Of the queries that see them, see `TextSource`.
    """
    own: Tensor = retriever.text_head(text.products(own_part(rows), fold=fold))
    return gathered(own, rows=len(rows))


def image_embeddings(
    retriever: Retriever, pixels: Tensor, *, rows: int, augment: bool, at_once: int
) -> Tensor:
    """Image embeddings of a batch's products, `(rows, dim)`; each process encodes its part.

    Args:
        retriever: Its image tower is used.
        pixels: `(own rows, 3, height, width)` uint8, of `own_pixels`.
        rows: Products of the whole batch.
        augment: Whether photographs are shifted, zoomed and mirrored.
        at_once: Photographs in one forward pass at most, see `encoded_in_parts`; 0 for all.
    """
    pixels = pixels.to(retriever.device, non_blocking=True)
    pixels = augmented(pixels) if augment else pixels
    parts = part_count(rows, at_once=at_once)
    if parts > 1:
        own = encoded_in_parts(retriever.image_embedding, pixels, parts=parts, model=retriever)
    else:
        own = retriever.image_embedding(pixels)
    return gathered(own, rows=rows)


def part_count(rows: int, *, at_once: int) -> int:
    """Parts that every process's share of a batch is taken in.

    Args:
        rows: Of the whole batch.
        at_once: Rows of a part at most; 0 for all.
    """
    if not at_once:
        return 1
    largest, smallest = -(-rows // process_count()), rows // process_count()
    return max(1, min(-(-largest // at_once), smallest))  # no part of any process is empty


def own_pixels(catalogue: Catalogue, rows: Int64Array) -> Tensor:
    """Photographs of this process's part of some products, read from disk.

    Returns:
        `(own rows, 3, height, width)` uint8; in page-locked memory where there is a GPU, so that
        it is copied there while the GPU computes.
    """
    pixels = load_pixels(catalogue, own_part(rows))
    return pixels.pin_memory() if torch.cuda.is_available() else pixels


def load_pixels(catalogue: Catalogue, rows: Int64Array) -> Tensor:
    """Photographs of some products, `(rows, 3, height, width)` uint8, read from disk."""
    if catalogue.pixels is None:
        raise RuntimeError("this catalogue was opened without photographs")
    return torch.from_numpy(catalogue.pixels[rows]).permute(0, 3, 1, 2)
