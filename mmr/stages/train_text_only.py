"""The tuned text-only towers: the baseline of every claim, and where the fused towers start."""

from __future__ import annotations

from pathlib import Path

import torch

from mmr.config.training import TextOnlyStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.stages.features import product_features, query_features
from mmr.stages.training_data import open_catalogue, open_judged, validation_scorer
from mmr.stages.training_run import StageReport, StageRun, train_parts
from mmr.training.loop import FitResult
from mmr.training.objectives import TextOnlyObjective, TrainingInputs
from mmr.training.processes import accelerator
from mmr.training.text_source import KeptText, LearningText, TextSource


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
    run = StageRun("text_only", opened, None, settings, cache)
    return run.complete(out, lambda: _train(opened, run, settings))


def _train(
    dataset: Dataset, run: StageRun, settings: TextOnlyStageSettings
) -> tuple[Retriever, FitResult]:
    torch.manual_seed(settings.seed)
    loop = settings.stage.loop
    retriever = new_text_retriever(settings.model).to(accelerator().device)
    catalogue = open_catalogue(dataset, vision=None, cache=run.cache)
    judged = open_judged(dataset, "train")
    scorer = validation_scorer(dataset)
    if settings.model.text.words:
        retriever.with_words([*catalogue.texts, *judged.queries])
    learning = loop.backbone_learning_rate > 0
    text: TextSource
    if learning:
        text = LearningText(
            retriever.text_encoder,
            query_encoder=retriever.query_encoder,
            queries=judged.queries,
            products=catalogue.texts,
            settings=settings.model.text,
        )
    else:
        text = KeptText(
            query_features(retriever, judged.queries, cache=run.cache),
            product_features(retriever, catalogue.texts, cache=run.cache),
        )
    objective = TextOnlyObjective(retriever, TrainingInputs(catalogue, judged, text), settings)

    def validate() -> float:
        queries = query_features(retriever, scorer.queries, cache=run.cache)
        products = product_features(retriever, catalogue.texts, cache=run.cache)
        return scorer.score(
            retriever.query_head(queries).float().cpu().numpy(),
            retriever.text_head(products).float().cpu().numpy(),
        )

    result = train_parts(
        retriever,
        objective,
        scale=objective.scale,
        parts={
            **retriever.text_parts(
                rate=loop.learning_rate, word_rate=settings.stage.word_learning_rate
            ),
            retriever.text_encoder: loop.backbone_learning_rate,
            retriever.query_encoder: loop.backbone_learning_rate,  # the same, unless of its own
            objective.scale: loop.learning_rate,
        },
        validate=validate,
        loop=loop,
        run=run,
    )
    return retriever, result
