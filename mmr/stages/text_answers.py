"""What the text-only towers answer to titles, for a fusion that shall not forget it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmr.config.model import ONE_MODALITY
from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.evaluation.ranking import exact_search
from mmr.models.retriever import Retriever
from mmr.stages.features import projected, query_features
from mmr.training.data import Catalogue
from mmr.training.text_answers import TextAnswers, asked_titles


@torch.no_grad()
def text_answers(
    retriever: Retriever,
    dataset: Dataset,
    catalogue: Catalogue,
    products: Tensor,
    *,
    settings: FusionStageSettings,
    cache: Path,
) -> TextAnswers | None:
    """Asks titles of the towers that stage C starts from.

    None where the settings do not want it, where a fusion of one modality has nothing to forget, or
    where no title says anything but colours.

    Args:
        retriever: As the stage starts from it.
        dataset: Whose titles are asked.
        catalogue: All its products.
        products: `(products, hidden)`, text backbone features of them.
        settings: Of stage C.
        cache: Content-addressed results.
    """
    stage = settings.stage.text_answers
    if not stage.weight or settings.stage.kind in ONE_MODALITY:
        return None
    asked_of = np.flatnonzero(catalogue.has_text & catalogue.has_image)
    titles = dataset.product_table(["title"])["title"].to_pylist()
    queries = asked_titles(
        [titles[row] or "" for row in asked_of], settings=stage, seed=settings.seed
    )
    if not queries:
        return None
    retriever.eval()
    features = query_features(retriever, queries, cache=cache)
    query_embeddings = projected(retriever.query_head, features)
    text_embeddings = projected(retriever.text_head, products)
    with_text = np.flatnonzero(catalogue.has_text)  # the others' texts answer nothing
    places, _ = exact_search(
        query_embeddings.float().cpu().numpy(),
        text_embeddings.float().cpu().numpy()[with_text],
        stage.depth,
    )
    return TextAnswers(
        features,
        query_embeddings,
        text_embeddings,
        with_text[places],
        settings=stage,
        seed=settings.seed,
    )
