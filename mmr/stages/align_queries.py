"""Stage B: queries meet product text and product image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mmr.config.model import FusionKind
from mmr.config.training import AlignStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.adoption import complete_if_better
from mmr.stages.image_towers import ImageStageData, encoder_rate
from mmr.stages.query_inputs import teacher_identity
from mmr.stages.stage_report import StageReport
from mmr.stages.training_run import StageRun, train_parts
from mmr.training.loop import FitResult
from mmr.training.objectives import AlignObjective
from mmr.training.processes import accelerator


def align_queries(
    *, dataset: Path, vision: Path, out: Path, settings: AlignStageSettings, cache: Path
) -> StageReport:
    """Aligns the query with each modality and with both; the result fuses by their mean.

    With `align.only_if_better` the towers may stay as they were.

    Args:
        dataset: A prepared dataset.
        vision: Model written by `finetune_vision`.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    opened = Dataset(dataset)
    teacher = teacher_identity(settings)
    run = StageRun("align_queries", opened, vision, settings, cache, teacher)
    return complete_if_better(run, settings, out, partial(_train, vision))


def _train(
    vision: Path, run: StageRun, settings: AlignStageSettings
) -> tuple[Retriever, dict[str, FitResult]]:
    retriever = load_retriever(vision).to(accelerator().device)
    retriever.with_fusion(FusionKind.MEAN)
    data = ImageStageData.open(run.dataset, retriever, cache=run.cache, settings=settings)
    objective = AlignObjective(retriever, data.inputs, settings)
    stage = settings.stage
    encoder, head = retriever.image_encoder, retriever.image_head
    if encoder is None or head is None:
        raise RuntimeError(f"{vision} has no image tower")
    backbone_rate = encoder_rate(
        retriever.settings.vision,
        pretrained=stage.loop.backbone_learning_rate,
        random=stage.loop.backbone_learning_rate,
        photographs=int(data.catalogue.has_image.sum()),
    )
    result = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={
            encoder: backbone_rate,
            head: stage.loop.learning_rate,
            **retriever.text_parts(
                rate=stage.text_learning_rate, word_rate=stage.word_learning_rate
            ),
            objective.scale: stage.loop.learning_rate,
        },
        validate=lambda: data.score_mean(retriever),
        loop=stage.loop.for_rows(len(data.inputs.judged), batch=stage.batch.queries),
        run=run,
    )
    return retriever, {run.stage: result}
