"""Objectives of small batches, and their loss at a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr.config.training import (
    AlignStage,
    AlignStageSettings,
    EndToEndStage,
    EndToEndStageSettings,
    FusionStage,
    FusionStageSettings,
    LossSettings,
    QueryBatchSettings,
    TextOnlyStage,
    TextOnlyStageSettings,
)
from mmr.training.end_to_end_objective import EndToEndObjective
from mmr.training.fusion_objective import FusionObjective
from mmr.training.objectives import AlignObjective, TextOnlyObjective
from mmr.training.query_objective import QueryObjective

BATCH = QueryBatchSettings(queries=6, positives=2, negatives=8)


def fusion_objective(
    shop: Any, *, loss: LossSettings | None = None, **stage: Any
) -> FusionObjective:
    settings = FusionStageSettings(
        model=shop.model,
        loss=loss or LossSettings(),
        stage=FusionStage(batch=BATCH, **{"text_dropout": 0, "image_dropout": 0, **stage}),
    )
    return FusionObjective(shop.retriever, shop.inputs, shop.image_features, settings)


def text_only_objective(shop: Any) -> TextOnlyObjective:
    settings = TextOnlyStageSettings(model=shop.model, stage=TextOnlyStage(batch=BATCH))
    return TextOnlyObjective(shop.retriever, shop.inputs, settings)


def align_objective(shop: Any, **stage: Any) -> AlignObjective:
    settings = AlignStageSettings(model=shop.model, stage=AlignStage(batch=BATCH, **stage))
    return AlignObjective(shop.retriever, shop.inputs, settings)


def end_to_end_objective(shop: Any, **stage: Any) -> EndToEndObjective:
    settings = EndToEndStageSettings(model=shop.model, stage=EndToEndStage(batch=BATCH, **stage))
    return EndToEndObjective(shop.retriever, shop.inputs, settings)


OBJECTIVES: dict[str, Callable[[Any], QueryObjective]] = {
    "text-only": text_only_objective,
    "align": align_objective,
    "fusion": fusion_objective,
    "end to end": end_to_end_objective,
}


def loss_at(objective: Any, step: int = 0) -> Tensor:
    torch.manual_seed(step)
    return objective.loss(objective.batch(step))
