"""The loss of training end to end: the query against the fused product, nothing learnt before."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmr.config.training import EndToEndStageSettings
from mmr.models.retriever import Retriever
from mmr.training.encoding import image_embeddings, load_pixels, own_pixels, text_embeddings
from mmr.training.objectives import photographs
from mmr.training.query_objective import QueryObjective, TrainingBatch, TrainingInputs
from mmr.training.targets import Targets
from mmr.types import Int64Array


class EndToEndObjective(QueryObjective):
    """Stage C's loss on photographs in place of kept features, so that all parts learn at once.

    Args:
        retriever: Heads, image tower and fusion are trained in place.
        inputs: Data.
        settings: Batch sizes, loss weights.
    """

    def __init__(
        self, retriever: Retriever, inputs: TrainingInputs, settings: EndToEndStageSettings
    ) -> None:
        self._stage = settings.stage
        super().__init__(retriever, inputs, settings)

    def batch(self, step: int) -> TrainingBatch:
        """See `QueryObjective`; with the products' photographs."""
        batch = super().batch(step)
        return replace(batch, pixels=own_pixels(self.inputs.catalogue, batch.products))

    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """See `QueryObjective`."""
        stage, rows = self._stage, batch.products
        query = self.query_embeddings(batch)
        text = text_embeddings(self.retriever, self.inputs.text, rows, fold=batch.fold)
        image = image_embeddings(
            self.retriever,
            photographs(batch),
            rows=len(rows),
            augment=stage.augment,
            at_once=stage.images_at_once,
        )
        loss = self.leading(query, self._fused(rows, text, image), targets)
        if stage.auxiliary_weight:
            text_loss, image_loss = self.single_modalities(query, text, image, rows, targets)
            loss = loss + stage.auxiliary_weight * (text_loss + image_loss)
        return loss

    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """See `QueryObjective`."""
        pixels = load_pixels(self.inputs.catalogue, rows).to(self.retriever.device)
        text: Tensor = self.retriever.text_head(self.inputs.text.products(rows))
        return self._fused(rows, text, self.retriever.image_embedding(pixels))

    def _fused(self, rows: Int64Array, text: Tensor, image: Tensor) -> Tensor:
        has_text, has_image = self.present(rows)
        fused: Tensor = self.retriever.fusion(text, image, has_text=has_text, has_image=has_image)
        return fused
