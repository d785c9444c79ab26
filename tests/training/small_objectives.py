"""Objectives of small batches, and their loss at a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmr.config.training import FusionStage, FusionStageSettings, LossSettings, QueryBatchSettings
from mmr.training.fusion_objective import FusionObjective

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


def loss_at(objective: Any, step: int = 0) -> Tensor:
    torch.manual_seed(step)
    return objective.loss(objective.batch(step))
