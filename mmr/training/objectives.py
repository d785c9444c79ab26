"""What the text-only towers and stages A and B minimise: the batch of a step, its loss.

Every process encodes its own part of a batch and gathers the embeddings of all; from there on the
computation is that of one process (`mmr.training.processes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmr.config.training import AlignStageSettings, VisionStageSettings
from mmr.models.retriever import Retriever
from mmr.training.data import Catalogue, product_batch
from mmr.training.encoding import image_embeddings, load_pixels, own_pixels, text_embeddings
from mmr.training.losses import over_prefixes, pair_contrastive_loss
from mmr.training.query_objective import (
    QueryObjective,
    TrainingBatch,
    TrainingInputs,
    mean_embedding,
)
from mmr.training.scale import LearntScale
from mmr.training.targets import Targets
from mmr.types import Int64Array


class TextOnlyObjective(QueryObjective):
    """Query against product text: the tuned text-only towers."""

    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """See `QueryObjective`."""
        query = self.query_embeddings(batch)
        text = text_embeddings(self.retriever, self.inputs.text, batch.products, fold=batch.fold)
        return self.leading(query, text, targets)

    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """See `QueryObjective`."""
        embeddings: Tensor = self.retriever.text_head(self.inputs.text.products(rows))
        return embeddings


@dataclass(frozen=True)
class ProductBatch:
    """Some products and their photographs.

    Attributes:
        products: `(products,)` rows of the catalogue.
        pixels: `(own products, 3, height, width)` uint8, this process's part.
    """

    products: Int64Array
    pixels: Tensor


class VisionObjective:
    """Stage A: each photograph against its own product's text, whose tower is locked.

    The text towers know the shop by then; the image is drawn into their space, not the reverse.

    Args:
        retriever: Its image tower is trained in place.
        inputs: Data; only products with both modalities take part.
        settings: Batch size and loss numbers.

    Source: "Beyond Text" (arXiv:2603.04836), domain-specific fine-tuning; locking the text side
    follows LiT (arXiv:2111.07991).
    """

    def __init__(
        self, retriever: Retriever, inputs: TrainingInputs, settings: VisionStageSettings
    ) -> None:
        self._retriever, self._inputs, self._settings = retriever, inputs, settings
        catalogue = inputs.catalogue
        self._products = np.flatnonzero(catalogue.has_text & catalogue.has_image)
        self.scale = LearntScale(settings.loss).to(retriever.device)

    def batch(self, step: int) -> ProductBatch:
        """Products of one step, and their photographs."""
        rows = product_batch(
            self._products,
            size=self._settings.stage.batch_size,
            step=step,
            seed=self._settings.seed,
        )
        return ProductBatch(rows, own_pixels(self._inputs.catalogue, rows))

    def loss(self, batch: ProductBatch) -> Tensor:
        """The loss of one batch, a scalar."""
        retriever, rows, stage = self._retriever, batch.products, self._settings.stage
        with torch.no_grad():
            text = text_embeddings(retriever, self._inputs.text, rows)
        image = image_embeddings(
            retriever,
            batch.pixels,
            rows=len(rows),
            augment=stage.augment,
            at_once=stage.images_at_once,
        )
        same = same_text(self._inputs.catalogue, rows, retriever.device)

        def loss(left: Tensor, right: Tensor) -> Tensor:
            return pair_contrastive_loss(left, right, same, scale=self.scale())

        return over_prefixes(loss, image, text, dims=self._settings.loss.matryoshka_dims)


class AlignObjective(QueryObjective):
    """Stage B: the query with product text, with product image, and with both at once.

    The query-image loss alone would teach the image what no picture shows (brands). So the joint
    loss leads: against the mean of both embeddings the image has to explain only what the text
    leaves open. Stage A's text-image loss is kept, so that the domain is not forgotten.

    Args:
        retriever: Heads and image tower are trained in place.
        inputs: Data.
        settings: Batch sizes, loss weights.

    Source: "Beyond Text" (arXiv:2603.04836): alignment of the query with product text and product
    image. The joint term and the kept loss are our reading.
    """

    def __init__(
        self, retriever: Retriever, inputs: TrainingInputs, settings: AlignStageSettings
    ) -> None:
        self._settings = settings
        super().__init__(retriever, inputs, settings)

    def batch(self, step: int) -> TrainingBatch:
        """See `QueryObjective`; with the products' photographs."""
        batch = super().batch(step)
        return replace(batch, pixels=own_pixels(self.inputs.catalogue, batch.products))

    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """See `QueryObjective`."""
        stage, rows = self._settings.stage, batch.products
        query = self.query_embeddings(batch)
        text = text_embeddings(self.retriever, self.inputs.text, rows, fold=batch.fold)
        image = image_embeddings(
            self.retriever,
            photographs(batch),
            rows=len(rows),
            augment=stage.augment,
            at_once=stage.images_at_once,
        )
        has_text, has_image = self.present(rows)
        text_loss, image_loss = self.single_modalities(query, text, image, rows, targets)
        mean = mean_embedding(text, image, has_text=has_text, has_image=has_image)
        joint = self.leading(query, mean, targets)
        loss = text_loss + stage.image_weight * image_loss + stage.joint_weight * joint
        both = has_text & has_image
        if stage.domain_weight and bool(both.any()):
            same = same_text(self.inputs.catalogue, rows, self.retriever.device)[both][:, both]
            loss = loss + stage.domain_weight * self._domain_loss(image[both], text[both], same)
        return loss

    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """See `QueryObjective`."""
        has_text, has_image = self.present(rows)
        text = self.retriever.text_head(self.inputs.text.products(rows))
        pixels = load_pixels(self.inputs.catalogue, rows).to(self.retriever.device)
        image = self.retriever.image_embedding(pixels)
        return mean_embedding(text, image, has_text=has_text, has_image=has_image)

    def _domain_loss(self, image: Tensor, text: Tensor, same: Tensor) -> Tensor:
        def loss(left: Tensor, right: Tensor) -> Tensor:
            return pair_contrastive_loss(left, right, same, scale=self.scale())

        return over_prefixes(loss, image, text, dims=self._settings.loss.matryoshka_dims)


def same_text(catalogue: Catalogue, rows: Int64Array, device: torch.device) -> Tensor:
    """Which products have the same text, `(rows, rows)`, bool."""
    groups = torch.from_numpy(catalogue.text_groups[rows]).to(device)
    return groups.unsqueeze(0) == groups.unsqueeze(1)


def photographs(batch: TrainingBatch) -> Tensor:
    """The batch's pixels, which its objective put there."""
    if batch.pixels is None:
        raise RuntimeError("this batch was made without photographs")
    return batch.pixels
