"""Stage C: the fusion network learns, on the product side only."""

from __future__ import annotations

from pathlib import Path

import torch

from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.features import image_features, product_features, query_features
from mmr.stages.technique_inputs import kept_text, teacher_identity, with_techniques
from mmr.stages.token_features import product_tokens
from mmr.stages.training_data import open_catalogue, open_judged, validation_scorer
from mmr.stages.training_run import StageReport, StageRun, train_parts
from mmr.training.fusion_objective import FusionObjective
from mmr.training.loop import FitResult
from mmr.training.processes import accelerator
from mmr.training.query_objective import TrainingInputs

_BLOCK = 8_192


def train_fusion(
    *, dataset: Path, aligned: Path, out: Path, settings: FusionStageSettings, cache: Path
) -> StageReport:
    """Trains fusion and heads on the kept features of frozen backbones.

    Args:
        dataset: A prepared dataset.
        aligned: Model written by `align_queries`.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    opened = Dataset(dataset)
    teacher = teacher_identity(settings)
    run = StageRun("train_fusion", opened, aligned, settings, cache, teacher)
    return run.complete(out, lambda: _train(opened, run, settings, aligned))


def _train(
    dataset: Dataset, run: StageRun, settings: FusionStageSettings, aligned: Path
) -> tuple[Retriever, FitResult]:
    torch.manual_seed(settings.seed)
    retriever = load_retriever(aligned).to(accelerator().device)
    retriever.with_fusion(settings.stage.kind)
    catalogue = open_catalogue(dataset, vision=retriever.settings.vision, cache=run.cache)
    judged = open_judged(dataset, "train")
    scorer = validation_scorer(dataset)
    products = product_features(retriever, catalogue.texts, cache=run.cache)
    images = image_features(retriever, catalogue, cache=run.cache)
    text = kept_text(retriever, judged, products, settings=settings, cache=run.cache)
    queries = query_features(retriever, scorer.queries, cache=run.cache)
    tokens = product_tokens(retriever, catalogue, cache=run.cache)
    inputs = with_techniques(
        TrainingInputs(catalogue, judged, text),
        retriever,
        dataset,
        settings=settings,
        cache=run.cache,
    )
    objective = FusionObjective(retriever, inputs, images, settings, tokens=tokens)
    has_text = torch.from_numpy(catalogue.has_text).to(retriever.device)
    has_image = torch.from_numpy(catalogue.has_image).to(retriever.device)

    def validate() -> float:
        fused = [
            retriever.product_embedding(
                products[block],
                images[block],
                has_text=has_text[block],
                has_image=has_image[block],
                tokens=tokens.of(block.numpy()) if tokens else None,
            )
            for block in torch.arange(len(catalogue)).split(_BLOCK)
        ]
        return scorer.score(
            retriever.query_head(queries).float().cpu().numpy(),
            torch.cat(fused).float().cpu().numpy(),
        )

    stage = settings.stage
    head = retriever.image_head
    if head is None:
        raise RuntimeError(f"{aligned} has no image tower")
    result = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={
            retriever.fusion: stage.loop.learning_rate,
            head: stage.loop.learning_rate,
            **retriever.text_parts(
                rate=stage.text_learning_rate, word_rate=stage.word_learning_rate
            ),
            objective.scale: stage.loop.learning_rate,
        },
        validate=validate,
        loop=stage.loop,
        run=run,
    )
    return retriever, result
