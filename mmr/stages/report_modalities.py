"""What the gate's report shows of text and image: read off the candidate's product tower."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.evaluation.evaluate import Evaluation
from mmr.evaluation.modalities import (
    CatalogueModalities,
    ExampleScores,
    ModalityReport,
    ModalityScores,
    summarise_modalities,
)
from mmr.evaluation.report import ReportPlan
from mmr.stages.gate_record import fusion_kept_start
from mmr.types import Float32Array

if TYPE_CHECKING:
    from mmr.stages.embedding import ProductTower

_ALONE = (FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY)


def report_modalities(
    evaluation: Evaluation, plan: ReportPlan, *, model: Path, dataset: Dataset, cache: Path
) -> ModalityReport:
    """Weighs text and image over the catalogue, and scores the examples' products by each alone.

    Args:
        evaluation: What was measured.
        plan: Which queries and products are shown.
        model: The candidate's model directory.
        dataset: The catalogue.
        cache: Where the gate's embeddings lie; the features behind them are taken from there.
    """
    from mmr.stages.embedding import ProductTower, embed_queries  # loads torch

    tower = ProductTower.open(model, dataset, cache=cache)
    kind = tower.retriever.kind
    if tower.products.images is None or kind in _ALONE:
        return ModalityReport(None, {})
    task = evaluation.task
    rows = range(len(tower))
    both = (tower.products.has_text & tower.products.has_image).numpy()
    vectors = tower.vectors(rows)
    cosines = {
        name: np.where(both, np.einsum("pd,pd->p", vectors, tower.vectors(rows, **left)), np.nan)
        for name, left in (("without_text", {"text": False}), ("without_image", {"image": False}))
    }
    summary = summarise_modalities(
        CatalogueModalities(weights=tower.weights(rows), both=both, **cosines),
        fusion=kind.value,
        kept_start=fusion_kept_start(model),
        product_ids=task.product_ids,
        judgements=task.judgements,
        slices=evaluation.slices,
    )
    queries = embed_queries(model, list(task.queries["query"]), cache=cache)
    return ModalityReport(summary, _example_scores(tower, queries, evaluation, plan))


def _example_scores(
    tower: ProductTower, queries: Float32Array, evaluation: Evaluation, plan: ReportPlan
) -> ExampleScores:
    places = {name: row for row, name in enumerate(evaluation.task.product_ids)}
    rows = [places[name] for name in plan.product_ids]
    examples = [*plan.wins, *plan.losses]
    asked = queries[[gain.row for gain in examples]]
    text, image, fused = (
        asked @ tower.vectors(rows, text=text, image=image).T
        for text, image in ((True, False), (False, True), (True, True))
    )
    return {
        (gain.query_id, name): ModalityScores(
            text=float(text[number, place]) if tower.products.has_text[row] else None,
            image=float(image[number, place]) if tower.products.has_image[row] else None,
            fused=float(fused[number, place]),
        )
        for number, gain in enumerate(examples)
        for place, (name, row) in enumerate(zip(plan.product_ids, rows, strict=True))
    }
