"""The tuned text-only towers: the baseline of every claim, and where the fused towers start."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from mmr.config.training import TextOnlyStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.stages.features import product_features, projected, query_features
from mmr.stages.query_inputs import query_inputs, teacher_identity
from mmr.stages.stage_report import StageReport
from mmr.stages.training_data import (
    ValidationScorer,
    open_catalogue,
    validation_scorer,
    words_for,
)
from mmr.stages.training_run import StageRun, train_parts
from mmr.training.data import Catalogue
from mmr.training.figures import Figures
from mmr.training.loop import FitResult
from mmr.training.objectives import TextOnlyObjective
from mmr.training.processes import accelerator


def train_text_only(
    *, dataset: Path, out: Path, settings: TextOnlyStageSettings, cache: Path
) -> StageReport:
    """Trains query head and text head, and the text backbone if the settings let it learn.

    Args:
        dataset: A prepared dataset.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    opened = Dataset(dataset)
    teacher = teacher_identity(settings)
    run = StageRun("text_only", opened, None, settings, cache, teacher)
    return run.complete(out, lambda: _train(opened, run, settings))


def _train(
    dataset: Dataset, run: StageRun, settings: TextOnlyStageSettings
) -> tuple[Retriever, dict[str, FitResult]]:
    torch.manual_seed(settings.seed)
    loop = settings.stage.loop
    retriever = new_text_retriever(settings.model).to(accelerator().device)
    words = words_for(settings.model.text, dataset)
    catalogue = open_catalogue(dataset, vision=None, cache=run.cache, words=words)
    scorer = validation_scorer(dataset)
    inputs = query_inputs(
        retriever,
        dataset,
        catalogue,
        settings=settings,
        cache=run.cache,
        text_learns=loop.backbone_learning_rate > 0,
    )
    if settings.model.text.words:
        retriever.with_words([*catalogue.texts, *inputs.judged.queries])
    objective = TextOnlyObjective(retriever, inputs, settings)
    result = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={
            **retriever.text_parts(
                rate=loop.learning_rate, word_rate=settings.stage.word_learning_rate
            ),
            retriever.text_encoder: loop.backbone_learning_rate,
            retriever.query_encoder: loop.backbone_learning_rate,  # the same, unless of its own
            objective.scale: loop.learning_rate,
        },
        validate=partial(_validate, retriever, catalogue, scorer, cache=run.cache),
        loop=loop.for_rows(len(inputs.judged), batch=settings.stage.batch.queries),
        run=run,
    )
    return retriever, {run.stage: result}


def _validate(
    retriever: Retriever, catalogue: Catalogue, scorer: ValidationScorer, *, cache: Path
) -> Figures:
    """Figures of the validation queries with the present towers."""
    queries = query_features(retriever, scorer.queries, cache=cache)
    products = product_features(retriever, catalogue.texts, cache=cache)
    return scorer.score(
        projected(retriever.query_head, queries).float().cpu().numpy(),
        projected(retriever.text_head, products).float().cpu().numpy(),
    )
