"""Everything at once from scratch: what staged training is measured against."""

from __future__ import annotations

from pathlib import Path

import torch

from mmr.config.training import EndToEndStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.stages.features import encoded_images
from mmr.stages.image_towers import ImageStageData, encoder_rate
from mmr.stages.query_inputs import teacher_identity
from mmr.stages.stage_report import StageReport
from mmr.stages.training_data import framed
from mmr.stages.training_run import StageRun, train_parts
from mmr.training.end_to_end_objective import EndToEndObjective
from mmr.training.figures import Figures
from mmr.training.loop import FitResult
from mmr.training.processes import accelerator


def train_end_to_end(
    *, dataset: Path, out: Path, settings: EndToEndStageSettings, cache: Path
) -> StageReport:
    """Trains fresh heads, image tower and fusion together; the text backbone stays frozen.

    No part of a run: `mmr ablate --ladder staging` compares it with the stages.

    Args:
        dataset: A prepared dataset.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    opened = Dataset(dataset)
    teacher = teacher_identity(settings)
    run = StageRun("train_end_to_end", opened, None, settings, cache, teacher)
    return run.complete(out, lambda: _train(opened, run, settings))


def _train(
    dataset: Dataset, run: StageRun, settings: EndToEndStageSettings
) -> tuple[Retriever, dict[str, FitResult]]:
    torch.manual_seed(settings.seed)
    model = settings.model
    model = model.model_copy(update={"vision": framed(model.vision, dataset)})
    retriever = new_text_retriever(model).to(accelerator().device)
    retriever.with_images()
    retriever.with_fusion(settings.stage.kind)
    data = ImageStageData.open(dataset, retriever, cache=run.cache, settings=settings)
    if settings.model.text.words:
        retriever.with_words([*data.catalogue.texts, *data.inputs.judged.queries])
    objective = EndToEndObjective(retriever, data.inputs, settings)
    encoder, head = retriever.image_encoder, retriever.image_head
    if encoder is None or head is None:
        raise RuntimeError("with_images adds an image tower")
    stage = settings.stage
    rate = stage.loop.learning_rate
    backbone_rate = encoder_rate(
        settings.model.vision,
        pretrained=stage.loop.backbone_learning_rate,
        random=rate,
        photographs=int(data.catalogue.has_image.sum()),
    )
    result = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={
            encoder: backbone_rate,
            head: rate,
            **retriever.text_parts(
                rate=stage.text_learning_rate, word_rate=stage.word_learning_rate
            ),
            retriever.fusion: stage.fusion_learning_rate,
            objective.scale: rate,
        },
        validate=lambda: _score(retriever, data),
        loop=stage.loop.for_rows(len(data.inputs.judged), batch=stage.batch.queries),
        run=run,
    )
    return retriever, {run.stage: result}


@torch.no_grad()
def _score(retriever: Retriever, data: ImageStageData) -> Figures:
    """Figures of the fused products on the sample of the catalogue that stages A and B rank."""
    rows = data.scorer.products
    encoder, catalogue = retriever.image_encoder, data.catalogue
    if encoder is None:
        raise RuntimeError("a text-only retriever has no image tower to score")
    device = retriever.device
    fused = retriever.product_embedding(
        data.product_features[torch.from_numpy(rows)],
        encoded_images(encoder, catalogue, rows, device=device),
        has_text=torch.from_numpy(catalogue.has_text[rows]).to(device),
        has_image=torch.from_numpy(catalogue.has_image[rows]).to(device),
    )
    return data.scorer.score(
        retriever.query_head(data.query_features).float().cpu().numpy(),
        fused.float().cpu().numpy(),
    )
