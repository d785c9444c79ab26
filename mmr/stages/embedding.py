"""Embeddings of a whole catalogue and of queries, kept by encoder and content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmr.atomic import new_directory
from mmr.data.dataset import Dataset
from mmr.data.expansion import Expansions
from mmr.hashing import sha256_json
from mmr.models.retriever import Retriever
from mmr.models.shares import modality_shares
from mmr.models.storage import load_retriever, stored_settings
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.features import HEAD_ROWS, query_features
from mmr.stages.product_features import ProductFeatures
from mmr.stages.training_data import open_catalogue, words_for
from mmr.types import Float32Array, ProductEmbeddings

_FORMAT = "embeddings-2"  # 2: with weights.npy


@dataclass(frozen=True)
class ProductTower:
    """A model's product tower over one catalogue: backbone features are at hand, heads are run.

    Attributes:
        retriever: The model.
        products: What its backbones made of the catalogue.
    """

    retriever: Retriever
    products: ProductFeatures

    @classmethod
    def open(
        cls, model: Path, dataset: Dataset, *, cache: Path, words: Expansions | None = None
    ) -> ProductTower:
        """Loads a model and its backbone features of a catalogue; computes those not kept.

        Args:
            model: A model directory.
            dataset: A prepared dataset.
            cache: Directory of content-addressed results.
            words: Of document expansion; None takes them from the dataset's training queries where
                the model's texts hold any.
        """
        retriever = load_retriever(model)
        vision = retriever.settings.vision if retriever.image_encoder is not None else None
        if words is None:
            words = words_for(retriever.settings.text, dataset)
        catalogue = open_catalogue(dataset, vision=vision, cache=cache, words=words)
        return cls(retriever, ProductFeatures.open(retriever, catalogue, cache=cache))

    def __len__(self) -> int:
        """Number of products."""
        return len(self.products)

    @torch.no_grad()
    def vectors(
        self, rows: Sequence[int], *, text: bool = True, image: bool = True
    ) -> Float32Array:
        """Vectors of some products, `(rows, dim)`, unit length.

        Args:
            rows: Catalogue rows.
            text: Whether the tower may read the texts.
            image: Whether the tower may read the photographs.
        """
        vectors: Float32Array = np.empty((len(rows), self.retriever.dim), dtype=np.float32)
        for start in range(0, len(rows), HEAD_ROWS):
            block = torch.tensor(rows[start : start + HEAD_ROWS])
            embedded = self.products.embedded(self.retriever, block, text=text, image=image)
            vectors[start : start + HEAD_ROWS] = self.retriever.served(embedded).numpy()
        return vectors

    @torch.no_grad()
    def weights(self, rows: Sequence[int]) -> Float32Array | None:
        """Shares of text, image and their joint expert, as `mmr.models.shares` defines them.

        Returns:
            `(rows, 3)`, or None where the fusion has no such shares.
        """
        products = self.products
        weights: Float32Array = np.empty((len(rows), 3), dtype=np.float32)
        for start in range(0, len(rows), HEAD_ROWS):
            block = torch.tensor(rows[start : start + HEAD_ROWS])
            images = None if products.images is None else products.images[block]
            text, image = self.retriever.modality_embeddings(
                products.texts[block], images, has_text=products.has_text[block]
            )
            found = modality_shares(
                self.retriever.fusion,
                text,
                image,
                vectors=products.embedded(self.retriever, block),
                has_text=products.has_text[block],
                has_image=products.has_image[block],
                tokens=products.tokens_of(block),
            )
            if found is None:
                return None
            weights[start : start + HEAD_ROWS] = found.numpy()
        return weights


def embed_products(
    model: Path, dataset: Dataset, *, cache: Path, words: Expansions | None = None
) -> ProductEmbeddings:
    """Embeds all products with a model's product tower, or reads what is kept of before.

    Args:
        model: A model directory.
        dataset: A prepared dataset.
        cache: Directory of content-addressed results.
        words: Of document expansion; None takes them from the dataset's training queries where the
            model's texts hold any.
    """
    key = [encoder_fingerprint(model), dataset.manifest.content_hash]
    if words is None:
        words = words_for(stored_settings(model).text, dataset)  # the dataset's hash covers them
    else:
        key.append(sha256_json({name: list(said) for name, said in words.items()}))
    entry = cache / _FORMAT / "-".join(part[:24] for part in key)
    if not entry.is_dir():
        with new_directory(entry) as scratch:
            _embed(ProductTower.open(model, dataset, cache=cache, words=words), scratch)
    weights = entry / "weights.npy"
    return ProductEmbeddings(
        product_ids=dataset.product_ids(),
        vectors=np.load(entry / "vectors.npy", mmap_mode="r"),
        has_text=np.load(entry / "has_text.npy"),
        has_image=np.load(entry / "has_image.npy"),
        weights=np.load(weights) if weights.is_file() else None,
        words=words,
    )


def _embed(tower: ProductTower, out: Path) -> None:
    shape = (len(tower), tower.retriever.dim)
    vectors = np.lib.format.open_memmap(out / "vectors.npy", "w+", dtype=np.float32, shape=shape)
    for start in range(0, len(tower), HEAD_ROWS):
        rows = range(start, min(start + HEAD_ROWS, len(tower)))
        vectors[start : rows.stop] = tower.vectors(rows)
    vectors.flush()
    weights = tower.weights(range(len(tower)))
    if weights is not None:
        np.save(out / "weights.npy", weights)
    np.save(out / "has_text.npy", tower.products.has_text.numpy())
    np.save(out / "has_image.npy", tower.products.has_image.numpy())


@torch.no_grad()
def embed_queries(model: Path, queries: Sequence[str], *, cache: Path) -> Float32Array:
    """Embeds queries with a model's query tower in full precision: `(queries, dim)`."""
    retriever = load_retriever(model)
    features = query_features(retriever, queries, cache=cache)
    embeddings: Float32Array = retriever.served(retriever.query_head(features)).numpy()
    return embeddings
