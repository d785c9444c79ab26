"""The loss of stage C: the query against the fused product."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmr.config.training import FusionStageSettings
from mmr.models.retriever import Retriever
from mmr.training.kept_tokens import KeptTokens
from mmr.training.losses import distillation_loss
from mmr.training.processes import gathered, own_part
from mmr.training.query_objective import QueryObjective, TrainingBatch, TrainingInputs
from mmr.training.targets import Targets
from mmr.training.text_answers import AskedTitles, TextAnswers
from mmr.types import Int64Array


class FusionObjective(QueryObjective):
    """Stage C: the query against the fused product, stage B's losses kept as auxiliary.

    The backbones are frozen and their features kept; heads and fusion learn. Some products are
    shown without their text or image, so that a missing modality is a case the fusion knows.

    Args:
        retriever: Heads and fusion are trained in place.
        inputs: Data.
        image_features: `(products, features)`, of the frozen vision backbone.
        settings: Batch sizes, loss weights, dropout shares.
        tokens: Token states, for a fusion that reads them.
        answers: What the texts alone answer to titles, where the settings keep that.

    Source: "Beyond Text" (arXiv:2603.04836), modality fusion network; auxiliary losses as in
    Que2Search's gradient blending (doi 10.1145/3447548.3467127). The kept answers follow Learning
    without Forgetting (arXiv:1606.09282); titles as the old task's queries are ours.
    """

    def __init__(
        self,
        retriever: Retriever,
        inputs: TrainingInputs,
        image_features: Tensor,
        settings: FusionStageSettings,
        *,
        tokens: KeptTokens | None = None,
        answers: TextAnswers | None = None,
    ) -> None:
        self._image_features, self._tokens, self._answers = image_features, tokens, answers
        self._stage = settings.stage
        super().__init__(retriever, inputs, settings)

    def batch(self, step: int) -> TrainingBatch:
        """See `QueryObjective`; with the titles that are asked beside the queries."""
        batch = super().batch(step)
        return batch if self._answers is None else replace(batch, asked=self._answers.draw(step))

    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """See `QueryObjective`."""
        weight, total = self._stage.auxiliary_weight, len(batch.products)
        own = own_part(batch.products)
        query = self.query_embeddings(batch)
        own_text, own_image = self._modalities(own, fold=batch.fold)
        fused = self._fused(own, own_text, own_image, *self._dropped(*self.present(own)))
        loss = self.leading(query, gathered(fused, rows=total), targets)
        if weight:
            text, image = gathered(own_text, rows=total), gathered(own_image, rows=total)
            text_loss, image_loss = self.single_modalities(
                query, text, image, batch.products, targets
            )
            loss = loss + weight * (text_loss + image_loss)
        if self._answers is not None and batch.asked is not None:
            forgotten = self._forgotten(self._answers, batch.asked)
            loss = loss + self._stage.text_answers.weight * forgotten
        return loss

    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """See `QueryObjective`."""
        return self._fused(rows, *self._modalities(rows), *self.present(rows))

    def _forgotten(self, answers: TextAnswers, asked: AskedTitles) -> Tensor:
        """How far the fused products' scores for some titles are from their texts' alone."""
        titles = torch.from_numpy(own_part(asked.titles)).to(answers.queries.device)
        query = self.retriever.query_head(answers.queries[titles])
        fused = self.product_embeddings(own_part(asked.products))
        scores = (
            gathered(query, rows=len(asked.titles)) @ gathered(fused, rows=len(asked.products)).T
        )
        scale = self.scale().detach()  # or the scale would shrink until all scores agree
        return distillation_loss(scale * scores, scale * answers.scores(asked))

    def _fused(
        self, rows: Int64Array, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor
    ) -> Tensor:
        fused: Tensor = self.retriever.fusion(
            text,
            image,
            has_text=has_text,
            has_image=has_image,
            tokens=self._tokens.of(rows) if self._tokens else None,
        )
        return fused

    def _modalities(self, rows: Int64Array, *, fold: int | None = None) -> tuple[Tensor, Tensor]:
        """Text and image embeddings of some products, each `(rows, dim)`."""
        retriever, features = self.retriever, self._image_features
        own = features[torch.from_numpy(rows).to(features.device)].to(retriever.device)
        text = retriever.text_head(self.inputs.text.products(rows, fold=fold))
        return text, retriever.image_head(own)  # type: ignore[misc]

    def _dropped(self, has_text: Tensor, has_image: Tensor) -> tuple[Tensor, Tensor]:
        """Hides a modality of some products that have both."""
        stage = self._stage
        draw = torch.rand(len(has_text), device=has_text.device)
        both = has_text & has_image
        hide_text = both & (draw < stage.text_dropout)
        hide_image = both & (draw > 1 - stage.image_dropout)
        return has_text & ~hide_text, has_image & ~hide_image
