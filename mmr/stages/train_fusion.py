"""Stage C: the fusion network learns, on the product side only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.features import image_features, product_features, query_features
from mmr.stages.technique_inputs import kept_text, teacher_identity, with_techniques
from mmr.stages.token_features import product_tokens
from mmr.stages.training_data import open_catalogue, open_judged, validation_scorer
from mmr.stages.training_run import StageReport, StageRun, train_parts
from mmr.training.data import Catalogue
from mmr.training.fusion_objective import FusionObjective
from mmr.training.kept_tokens import KeptTokens
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
    features = _Features(retriever, catalogue, products, images, tokens)

    def validate() -> float:
        return scorer.score(
            retriever.query_head(queries).float().cpu().numpy(),
            features.product_embeddings().float().cpu().numpy(),
        )

    result = train_parts(
        retriever,
        objective,
        kept=objective.kept,
        parts=_parts(retriever, objective, settings, aligned),
        validate=validate,
        loop=settings.stage.loop,
        run=run,
    )
    return retriever, result


def _parts(
    retriever: Retriever, objective: FusionObjective, settings: FusionStageSettings, aligned: Path
) -> dict[nn.Module, float]:
    """What learns, and at which rate."""
    stage = settings.stage
    if retriever.image_head is None:
        raise RuntimeError(f"{aligned} has no image tower")
    return {
        retriever.fusion: stage.loop.learning_rate,
        retriever.image_head: stage.loop.learning_rate,
        **retriever.text_parts(rate=stage.text_learning_rate, word_rate=stage.word_learning_rate),
        objective.scale: stage.loop.learning_rate,
    }


@dataclass(frozen=True)
class _Features:
    """What the frozen backbones made of the whole catalogue."""

    retriever: Retriever
    catalogue: Catalogue
    products: Tensor
    images: Tensor
    tokens: KeptTokens | None

    def product_embeddings(self) -> Tensor:
        """Of every product with the present heads and fusion, `(products, dim)`."""
        device, tokens = self.retriever.device, self.tokens
        has_text = torch.from_numpy(self.catalogue.has_text).to(device)
        has_image = torch.from_numpy(self.catalogue.has_image).to(device)
        fused = [
            self.retriever.product_embedding(
                self.products[block],
                self.images[block],
                has_text=has_text[block],
                has_image=has_image[block],
                tokens=tokens.of(block.numpy()) if tokens else None,
            )
            for block in torch.arange(len(self.catalogue)).split(_BLOCK)
        ]
        return torch.cat(fused)
