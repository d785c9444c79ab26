"""How stage C trains: data, losses, and the image head of products without a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mmr.config.model import ONE_MODALITY
from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.fusion import Concat
from mmr.models.heads import ImageHead
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.features import query_features
from mmr.stages.product_features import ProductFeatures
from mmr.stages.query_inputs import query_inputs, teacher_identity
from mmr.stages.text_answers import text_answers
from mmr.stages.training_data import (
    ValidationScorer,
    open_catalogue,
    validation_scorer,
    words_for,
)
from mmr.stages.training_run import StageRun, train_parts
from mmr.training.blending import (
    WITH_START,
    WITH_TEXT,
    blend_with_start,
    blend_with_text,
    copied_weights,
)
from mmr.training.checkpoints import Weights
from mmr.training.figures import Figures
from mmr.training.fusion_objective import FusionObjective
from mmr.training.image_only_objective import ImageOnlyObjective
from mmr.training.loop import FitResult
from mmr.training.processes import accelerator
from mmr.training.query_objective import TrainingInputs
from mmr.training.text_answers import TextAnswers


def fusion_run(
    dataset: Dataset,
    aligned: Path,
    settings: FusionStageSettings,
    *,
    cache: Path,
    floor: Figures | None = None,
) -> StageRun:
    """Stage C with its inputs."""
    teacher = teacher_identity(settings)
    return StageRun("train_fusion", dataset, aligned, settings, cache, teacher, floor)


def train_from(
    aligned: Path, run: StageRun, settings: FusionStageSettings
) -> tuple[Retriever, dict[str, FitResult]]:
    """Trains the fusion of some towers, and says how each of its loops ended."""
    torch.manual_seed(settings.seed)
    retriever = load_retriever(aligned).to(accelerator().device)
    head = retriever.image_head
    if head is None:
        raise RuntimeError(f"{aligned} has no image tower")
    retriever.with_fusion(settings.stage.kind)
    with_image_only = settings.stage.image_only_steps and settings.stage.kind not in ONE_MODALITY
    if with_image_only:
        retriever.with_image_only_head()  # before C turns the image head to what texts leave open
    data = _StageData.open(run.dataset, retriever, settings=settings, cache=run.cache)
    results = _train_fused(data, head, run, settings)
    if with_image_only:
        alone = run.part("image_only")
        results[alone.stage] = _train_image_only(data, alone, settings)
    if settings.stage.principal_axes:
        products = data.products.embedded(retriever)
        del data  # the turn takes as much memory as the features
        retriever.eval().with_principal_axes(products)
    return retriever, results


def _train_fused(
    data: _StageData, head: ImageHead, run: StageRun, settings: FusionStageSettings
) -> dict[str, FitResult]:
    retriever, stage = data.retriever, settings.stage
    text = retriever.text_parts(rate=stage.text_learning_rate, word_rate=stage.word_learning_rate)
    learning = [retriever.fusion, head, *text]
    blend = _Blend(data, learning, copied_weights(learning), run.floor) if run.floor else None
    objective = FusionObjective(
        retriever,
        data.inputs,
        data.images,
        settings,
        tokens=data.products.tokens,
        answers=data.answers,
    )
    rate = stage.loop.learning_rate
    end = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={retriever.fusion: rate, head: rate, **text, objective.scale: rate},
        validate=data.score,
        loop=stage.loop.for_rows(len(data.inputs.judged), batch=stage.batch.queries),
        run=run,
    )
    return blend.results(end, run) if blend else {run.stage: end}


@dataclass(frozen=True)
class _Blend:
    """Keeps as much of what a stage that has to prove itself learnt as reaches its floor.

    Attributes:
        data: Of the stage.
        learnt: What is trained.
        start: Its weights before.
        floor: What its figures should not be below.
    """

    data: _StageData
    learnt: Sequence[nn.Module]
    start: Sequence[Weights]
    floor: Figures

    def results(self, end: FitResult, run: StageRun) -> dict[str, FitResult]:
        """How the training and each blending ended, once the weights are those that are kept."""
        fusion, score, floor = self.data.retriever.eval().fusion, self.data.score, self.floor
        results = {run.stage: end}
        if end.best_step and not end.best.reach(floor):
            blended = blend_with_start(self.learnt, self.start, score, end=end, floor=floor)
            results[run.part(WITH_START).stage] = blended
            end = replace(end, best=blended.best)
        if isinstance(fusion, Concat) and not end.best.reach(floor):
            blended = blend_with_text(fusion, score, end=end, floor=floor)
            results[run.part(WITH_TEXT).stage] = blended
            end = replace(end, best=blended.best)
        return {**results, run.stage: end}


def _train_image_only(data: _StageData, run: StageRun, settings: FusionStageSettings) -> FitResult:
    retriever, loop = data.retriever, settings.stage.loop
    objective = ImageOnlyObjective(retriever, data.inputs, data.images, settings)
    return train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts={objective.head: loop.learning_rate, objective.scale: loop.learning_rate},
        validate=partial(data.score, text=False),
        loop=loop.model_copy(update={"steps": settings.stage.image_only_steps}),
        run=run,
    )


@dataclass(frozen=True)
class _StageData:
    """What the frozen backbones made of queries and catalogue, and what is learnt from it.

    Attributes:
        retriever: In training.
        inputs: Training queries, their products and text features.
        products: Features of the whole catalogue.
        images: `(products, features)`, those of its photographs.
        answers: What the texts alone answer to titles, where the stage keeps that.
        queries: `(queries, hidden)`, features of the validation queries.
        scorer: Scores their answers.
    """

    retriever: Retriever
    inputs: TrainingInputs
    products: ProductFeatures
    images: Tensor
    answers: TextAnswers | None
    queries: Tensor
    scorer: ValidationScorer

    @classmethod
    def open(
        cls, dataset: Dataset, retriever: Retriever, *, settings: FusionStageSettings, cache: Path
    ) -> _StageData:
        """Opens the dataset and computes features that are not kept yet."""
        vision = retriever.settings.vision
        words = words_for(retriever.settings.text, dataset)
        catalogue = open_catalogue(dataset, vision=vision, cache=cache, words=words)
        scorer = validation_scorer(dataset)
        products = ProductFeatures.open(retriever, catalogue, cache=cache)
        if products.images is None:
            raise RuntimeError("the fusion of a catalogue without photographs")
        return cls(
            retriever=retriever,
            inputs=query_inputs(retriever, dataset, catalogue, settings=settings, cache=cache),
            products=products,
            images=products.images,
            answers=text_answers(
                retriever, dataset, catalogue, products.texts, settings=settings, cache=cache
            ),
            queries=query_features(retriever, scorer.queries, cache=cache),
            scorer=scorer,
        )

    def score(self, *, text: bool = True) -> Figures:
        """Figures of the validation queries with the present heads and fusion.

        Args:
            text: Whether texts may be read; without them as if no product had one.
        """
        return self.scorer.score(
            self.retriever.query_head(self.queries).float().cpu().numpy(),
            self.products.embedded(self.retriever, text=text).float().cpu().numpy(),
        )
