"""What each stage minimises: the batch of a step, and the loss of a batch.

Every process encodes its own part of a batch and gathers the embeddings of all; from there on the
computation is that of one process (`mmr.training.processes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmr.config.training import (
    AlignStageSettings,
    LossSettings,
    TextOnlyStageSettings,
    VisionStageSettings,
)
from mmr.models.retriever import Retriever
from mmr.training.data import Catalogue, JudgedQueries, QueryBatch, QueryBatches, product_batch
from mmr.training.encoding import (
    IllustratedBatch,
    ProductBatch,
    image_embeddings,
    own_pixels,
    query_embeddings,
    text_embeddings,
)
from mmr.training.losses import pair_contrastive_loss, query_product_loss
from mmr.training.text_source import TextSource


class LearntScale(nn.Module):
    """The contrastive scale (1 / temperature), learnt and clamped from above.

    Source: CLIP (arXiv:2103.00020, section 2.5), clamp included; the start is a setting.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(settings.scale).log())
        self._log_max = float(torch.tensor(settings.max_scale).log())

    def forward(self) -> Tensor:
        return self.log_scale.clamp(max=self._log_max).exp()


@dataclass(frozen=True)
class TrainingInputs:
    """What every objective reads."""

    catalogue: Catalogue
    judged: JudgedQueries
    text: TextSource


class TextOnlyObjective:
    """Query against product text: the tuned text-only towers.

    Args:
        retriever: Trained in place.
        inputs: Data.
        settings: Batch sizes and loss numbers.
    """

    def __init__(
        self, retriever: Retriever, inputs: TrainingInputs, settings: TextOnlyStageSettings
    ) -> None:
        self._retriever, self._inputs = retriever, inputs
        self._weights = settings.loss.grade_weights
        self.scale = LearntScale(settings.loss).to(retriever.device)
        self._batches = QueryBatches(
            inputs.judged,
            products=len(inputs.catalogue),
            settings=settings.stage.batch,
            seed=settings.seed,
        )

    def batch(self, step: int) -> QueryBatch:
        """Queries and products of one step."""
        return self._batches(step)

    def loss(self, batch: QueryBatch) -> Tensor:
        """The loss of one batch, a scalar."""
        retriever = self._retriever
        return query_product_loss(
            query_embeddings(retriever, self._inputs.text, batch.queries),
            text_embeddings(retriever, self._inputs.text, batch.products),
            batch.grades.to(retriever.device),
            scale=self.scale(),
            grade_weights=self._weights,
        )


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
        retriever, rows = self._retriever, batch.products
        with torch.no_grad():
            text = text_embeddings(retriever, self._inputs.text, rows)
        image = image_embeddings(retriever, batch, augment=self._settings.stage.augment)
        groups = torch.from_numpy(self._inputs.catalogue.text_groups[rows]).to(retriever.device)
        same = groups.unsqueeze(0) == groups.unsqueeze(1)
        return pair_contrastive_loss(image, text, same, scale=self.scale())


class AlignObjective:
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
        self._retriever, self._inputs, self._settings = retriever, inputs, settings
        self.scale = LearntScale(settings.loss).to(retriever.device)
        self._batches = QueryBatches(
            inputs.judged,
            products=len(inputs.catalogue),
            settings=settings.stage.batch,
            seed=settings.seed,
        )

    def batch(self, step: int) -> IllustratedBatch:
        """Queries and products of one step, and the products' photographs."""
        batch = self._batches(step)
        pixels = own_pixels(self._inputs.catalogue, batch.products)
        return IllustratedBatch(batch.products, pixels, batch.queries, batch.grades)

    def loss(self, batch: IllustratedBatch) -> Tensor:
        """The loss of one batch, a scalar."""
        retriever, inputs, stage = self._retriever, self._inputs, self._settings.stage
        device = retriever.device
        query = query_embeddings(retriever, inputs.text, batch.queries)
        text = text_embeddings(retriever, inputs.text, batch.products)
        image = image_embeddings(retriever, batch, augment=stage.augment)
        has_text = torch.from_numpy(inputs.catalogue.has_text[batch.products]).to(device)
        has_image = torch.from_numpy(inputs.catalogue.has_image[batch.products]).to(device)
        grades = batch.grades.to(device)
        loss = alignment_loss(
            query,
            text,
            image,
            grades,
            has_text=has_text,
            has_image=has_image,
            scale=self.scale(),
            settings=self._settings,
        )
        both = has_text & has_image
        if stage.domain_weight and bool(both.any()):
            groups = torch.from_numpy(inputs.catalogue.text_groups[batch.products]).to(device)[both]
            same = groups.unsqueeze(0) == groups.unsqueeze(1)
            domain = pair_contrastive_loss(image[both], text[both], same, scale=self.scale())
            loss = loss + stage.domain_weight * domain
        return loss


def alignment_loss(
    query: Tensor,
    text: Tensor,
    image: Tensor,
    grades: Tensor,
    *,
    has_text: Tensor,
    has_image: Tensor,
    scale: Tensor,
    settings: AlignStageSettings,
) -> Tensor:
    """Query against text, against image, and against their mean, each over products that have it.

    Args:
        query: `(queries, dim)`; text, image: `(products, dim)`; all unit length.
        text: See `query`.
        image: See `query`.
        grades: `(queries, products)`.
        has_text: `(products,)`, bool.
        has_image: `(products,)`, bool.
        scale: Scalar.
        settings: Of stage B.
    """
    stage, weights = settings.stage, settings.loss.grade_weights
    text_loss, image_loss = single_modality_losses(
        query,
        text,
        image,
        grades,
        has_text=has_text,
        has_image=has_image,
        scale=scale,
        grade_weights=weights,
    )
    mixed = text * has_text.unsqueeze(1) + image * has_image.unsqueeze(1)
    mean = torch.nn.functional.normalize(mixed, dim=-1)
    joint = query_product_loss(query, mean, grades, scale=scale, grade_weights=weights)
    return text_loss + stage.image_weight * image_loss + stage.joint_weight * joint


def single_modality_losses(
    query: Tensor,
    text: Tensor,
    image: Tensor,
    grades: Tensor,
    *,
    has_text: Tensor,
    has_image: Tensor,
    scale: Tensor,
    grade_weights: Mapping[int, float],
) -> tuple[Tensor, Tensor]:
    """Query against text and query against image, each over the products that have it.

    Arguments as in `alignment_loss`.
    """

    def single(embedding: Tensor, present: Tensor) -> Tensor:
        return query_product_loss(
            query, embedding[present], grades[:, present], scale=scale, grade_weights=grade_weights
        )

    return single(text, has_text), single(image, has_image)
