"""The loss of training end to end: the query against the fused product, nothing learnt before."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr.config.training import EndToEndStageSettings
from mmr.models.retriever import Retriever
from mmr.training.data import QueryBatches
from mmr.training.encoding import (
    IllustratedBatch,
    image_embeddings,
    own_pixels,
    query_embeddings,
    text_embeddings,
)
from mmr.training.losses import query_product_loss
from mmr.training.objectives import LearntScale, TrainingInputs, single_modality_losses


class EndToEndObjective:
    """Stage C's loss on photographs in place of kept features, so that all parts learn at once.

    Args:
        retriever: Heads, image tower and fusion are trained in place.
        inputs: Data.
        settings: Batch sizes, loss weights.
    """

    def __init__(
        self, retriever: Retriever, inputs: TrainingInputs, settings: EndToEndStageSettings
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
        fused = retriever.fusion(text, image, has_text=has_text, has_image=has_image)
        grades, weights = batch.grades.to(device), self._settings.loss.grade_weights
        loss = query_product_loss(query, fused, grades, scale=self.scale(), grade_weights=weights)
        if stage.auxiliary_weight:
            text_loss, image_loss = single_modality_losses(
                query,
                text,
                image,
                grades,
                has_text=has_text,
                has_image=has_image,
                scale=self.scale(),
                grade_weights=weights,
            )
            loss = loss + stage.auxiliary_weight * (text_loss + image_loss)
        return loss
