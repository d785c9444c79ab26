"""Stage A: the vision backbone learns the shop's domain."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from mmr.config.model import FusionKind
from mmr.config.training import VisionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.adoption import complete_if_better
from mmr.stages.image_towers import ImageStageData, encoder_rate
from mmr.stages.stage_report import StageReport
from mmr.stages.training_data import framed
from mmr.stages.training_run import StageRun, train_parts
from mmr.training.loop import FitResult
from mmr.training.objectives import VisionObjective
from mmr.training.processes import accelerator


def finetune_vision(
    *, dataset: Path, text_only: Path, out: Path, settings: VisionStageSettings, cache: Path
) -> StageReport:
    """Adds an image tower to the tuned text-only towers and draws it into their space.

    The result fuses by their mean. With `vision.only_if_better` the tower may stay as it was added.

    Args:
        dataset: A prepared dataset.
        text_only: Model written by `train_text_only`.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    opened = Dataset(dataset)
    run = StageRun("finetune_vision", opened, text_only, settings, cache)
    return complete_if_better(run, settings, out, partial(_train, text_only))


def _train(
    text_only: Path, run: StageRun, settings: VisionStageSettings
) -> tuple[Retriever, dict[str, FitResult]]:
    torch.manual_seed(settings.seed)
    retriever = load_retriever(text_only).to(accelerator().device)
    text = retriever.settings.text  # as the parent was built
    vision = framed(settings.model.vision, run.dataset)
    retriever.settings = settings.model.model_copy(update={"text": text, "vision": vision})
    retriever.with_images()
    retriever.with_fusion(FusionKind.MEAN)
    data = ImageStageData.open(run.dataset, retriever, cache=run.cache)
    objective = VisionObjective(retriever, data.inputs, settings)
    rate = settings.stage.loop.learning_rate
    encoder, head = retriever.image_encoder, retriever.image_head
    if encoder is None or head is None:
        raise RuntimeError("with_images adds an image tower")
    photographs = int(data.catalogue.has_image.sum())
    backbone_rate = encoder_rate(
        settings.model.vision,
        pretrained=settings.stage.loop.backbone_learning_rate,
        random=rate,
        photographs=photographs,
    )
    result = train_parts(
        retriever,
        objective,
        kept=objective.scale,
        parts={encoder: backbone_rate, head: rate, objective.scale: rate},
        validate=lambda: data.score_mean(retriever),
        loop=settings.stage.loop.for_rows(photographs, batch=settings.stage.batch_size),
        run=run,
    )
    return retriever, {run.stage: result}
