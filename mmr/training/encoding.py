"""From the rows of a batch to embeddings: each process encodes its part, all get the whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmr.models.retriever import Retriever
from mmr.training.augment import augmented
from mmr.training.data import Catalogue
from mmr.training.processes import gathered, own_part
from mmr.training.text_source import TextSource
from mmr.types import Int64Array


@dataclass(frozen=True)
class ProductBatch:
    """Some products and their photographs.

    Attributes:
        products: `(products,)` rows of the catalogue.
        pixels: `(own products, 3, height, width)` uint8, this process's part.
    """

    products: Int64Array
    pixels: Tensor


@dataclass(frozen=True)
class IllustratedBatch(ProductBatch):
    """Some queries and the products drawn for them, with their photographs.

    Attributes:
        queries: `(queries,)` rows of the query list.
        grades: `(queries, products)` int64.
    """

    queries: Int64Array
    grades: Tensor


def query_embeddings(retriever: Retriever, text: TextSource, rows: Int64Array) -> Tensor:
    """Embeddings of some queries, `(rows, dim)`; each process encodes its part."""
    own: Tensor = retriever.query_head(text.queries(own_part(rows)))
    return gathered(own, rows=len(rows))


def text_embeddings(retriever: Retriever, text: TextSource, rows: Int64Array) -> Tensor:
    """Text embeddings of some products, `(rows, dim)`; each process encodes its part."""
    own: Tensor = retriever.text_head(text.products(own_part(rows)))
    return gathered(own, rows=len(rows))


def image_embeddings(retriever: Retriever, batch: ProductBatch, *, augment: bool) -> Tensor:
    """Image embeddings of a batch's products, `(rows, dim)`; each process encodes its part."""
    pixels = batch.pixels.to(retriever.device, non_blocking=True)
    own = retriever.image_embedding(augmented(pixels) if augment else pixels)
    return gathered(own, rows=len(batch.products))


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
