"""The loss of stage C: the query against the fused product."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr.config.training import FusionStageSettings
from mmr.models.retriever import Retriever
from mmr.training.data import QueryBatch, QueryBatches
from mmr.training.encoding import query_embeddings
from mmr.training.kept_tokens import KeptTokens
from mmr.training.losses import query_product_loss
from mmr.training.objectives import (
    LearntScale,
    TrainingInputs,
    single_modality_losses,
)
from mmr.training.processes import gathered, own_part


class FusionObjective:
    """Stage C: the query against the fused product, stage B's losses kept as auxiliary.

    The backbones are frozen and their features kept; heads and fusion learn. Some products are
    shown without their text or image, so that a missing modality is a case the fusion knows.

    Args:
        retriever: Heads and fusion are trained in place.
        inputs: Data.
        image_features: `(products, features)`, of the frozen vision backbone.
        settings: Batch sizes, loss weights, dropout shares.
        tokens: Token states, for a fusion that reads them.

    Source: "Beyond Text" (arXiv:2603.04836), modality fusion network; auxiliary losses as in
    Que2Search's gradient blending (doi 10.1145/3447548.3467127).
    """

    def __init__(
        self,
        retriever: Retriever,
        inputs: TrainingInputs,
        image_features: Tensor,
        settings: FusionStageSettings,
        *,
        tokens: KeptTokens | None = None,
    ) -> None:
        self._retriever, self._inputs, self._settings = retriever, inputs, settings
        self._image_features, self._tokens = image_features, tokens
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
        retriever, stage = self._retriever, self._settings.stage
        device, catalogue = retriever.device, self._inputs.catalogue
        own, total = own_part(batch.products), len(batch.products)
        query = query_embeddings(retriever, self._inputs.text, batch.queries)
        own_text = retriever.text_head(self._inputs.text.products(own))
        own_image = retriever.image_head(  # type: ignore[misc]
            self._image_features[torch.from_numpy(own).to(self._image_features.device)].to(device)
        )
        shown_text, shown_image = self._dropped(
            torch.from_numpy(catalogue.has_text[own]).to(device),
            torch.from_numpy(catalogue.has_image[own]).to(device),
        )
        fused = gathered(
            retriever.fusion(
                own_text,
                own_image,
                has_text=shown_text,
                has_image=shown_image,
                tokens=self._tokens.of(own) if self._tokens else None,
            ),
            rows=total,
        )
        grades = batch.grades.to(device)
        loss = query_product_loss(
            query,
            fused,
            grades,
            scale=self.scale(),
            grade_weights=self._settings.loss.grade_weights,
        )
        if stage.auxiliary_weight:
            text_loss, image_loss = single_modality_losses(
                query,
                gathered(own_text, rows=total),
                gathered(own_image, rows=total),
                grades,
                has_text=torch.from_numpy(catalogue.has_text[batch.products]).to(device),
                has_image=torch.from_numpy(catalogue.has_image[batch.products]).to(device),
                scale=self.scale(),
                grade_weights=self._settings.loss.grade_weights,
            )
            loss = loss + stage.auxiliary_weight * (text_loss + image_loss)
        return loss

    def _dropped(self, has_text: Tensor, has_image: Tensor) -> tuple[Tensor, Tensor]:
        """Hides a modality of some products that have both."""
        stage = self._settings.stage
        draw = torch.rand(len(has_text), device=has_text.device)
        both = has_text & has_image
        hide_text = both & (draw < stage.text_dropout)
        hide_image = both & (draw > 1 - stage.image_dropout)
        return has_text & ~hide_text, has_image & ~hide_image
