"""Embeddings of a whole catalogue and of queries, kept by encoder and content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmr.atomic import new_directory
from mmr.data.dataset import Dataset
from mmr.models.storage import load_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.features import image_features, product_features, query_features
from mmr.stages.training_data import open_catalogue
from mmr.types import Float32Array, ProductEmbeddings

_BLOCK = 8_192


def embed_products(model: Path, dataset: Dataset, *, cache: Path) -> ProductEmbeddings:
    """Embeds all products with a model's product tower, or reads what is kept of before.

    Args:
        model: A model directory.
        dataset: A prepared dataset.
        cache: Directory of content-addressed results.
    """
    entry = (
        cache
        / "embeddings"
        / f"{encoder_fingerprint(model)[:24]}-{dataset.manifest.content_hash[:24]}"
    )
    if not entry.is_dir():
        with new_directory(entry) as scratch:
            _embed(model, dataset, scratch, cache=cache)
    return ProductEmbeddings(
        product_ids=dataset.product_ids(),
        vectors=np.load(entry / "vectors.npy", mmap_mode="r"),
        has_text=np.load(entry / "has_text.npy"),
        has_image=np.load(entry / "has_image.npy"),
    )


@torch.no_grad()
def _embed(model: Path, dataset: Dataset, out: Path, *, cache: Path) -> None:
    retriever = load_retriever(model)
    vision = retriever.settings.vision if retriever.image_encoder is not None else None
    catalogue = open_catalogue(dataset, vision=vision, cache=cache)
    texts = product_features(retriever, catalogue.texts, cache=cache)
    images = image_features(retriever, catalogue, cache=cache) if vision else None
    has_text = torch.from_numpy(catalogue.has_text)
    has_image = torch.from_numpy(catalogue.has_image)
    vectors = np.lib.format.open_memmap(
        out / "vectors.npy", "w+", dtype=np.float32, shape=(len(catalogue), retriever.dim)
    )
    for rows in torch.arange(len(catalogue)).split(_BLOCK):
        vectors[rows.numpy()] = retriever.product_embedding(
            texts[rows],
            None if images is None else images[rows],
            has_text=has_text[rows],
            has_image=has_image[rows],
        ).numpy()
    vectors.flush()
    np.save(out / "has_text.npy", catalogue.has_text)
    np.save(out / "has_image.npy", catalogue.has_image)


@torch.no_grad()
def embed_queries(model: Path, queries: Sequence[str], *, cache: Path) -> Float32Array:
    """Embeds queries with a model's query tower in full precision: `(queries, dim)`."""
    retriever = load_retriever(model)
    features = query_features(retriever, queries, cache=cache)
    embeddings: Float32Array = retriever.query_head(features).numpy()
    return embeddings
