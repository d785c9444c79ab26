"""What the stages with an image tower share: inputs, embeddings for validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmr.config.model import VisionSettings
from mmr.config.training import QueryStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.stages.features import encoded_images, product_features, query_features
from mmr.stages.query_inputs import query_inputs
from mmr.stages.training_data import (
    ValidationScorer,
    open_catalogue,
    open_judged,
    validation_scorer,
    words_for,
)
from mmr.training.data import Catalogue
from mmr.training.figures import Figures
from mmr.training.query_objective import TrainingInputs
from mmr.training.text_source import KeptText

# Products ranked while the image tower learns: embedding more photographs would cost more time
# than it tells. The gate ranks all.
VALIDATION_PRODUCTS = 8_000


@dataclass(frozen=True)
class ImageStageData:
    """Everything that stages A and B read.

    Attributes:
        inputs: For the objective.
        scorer: Over a sample of the catalogue.
        query_features: `(validation queries, hidden)`.
        product_features: `(products, hidden)`.
    """

    inputs: TrainingInputs
    scorer: ValidationScorer
    query_features: Tensor
    product_features: Tensor

    @property
    def catalogue(self) -> Catalogue:
        """All products."""
        return self.inputs.catalogue

    @classmethod
    def open(
        cls,
        dataset: Dataset,
        retriever: Retriever,
        *,
        cache: Path,
        settings: QueryStageSettings | None = None,
    ) -> ImageStageData:
        """Reads the dataset and encodes all texts with the frozen text backbone.

        Args:
            dataset: A prepared dataset.
            retriever: The model.
            cache: Content-addressed results.
            settings: Of a stage that learns from queries; None for stage A.
        """
        vision = retriever.settings.vision
        words = words_for(retriever.settings.text, dataset)
        catalogue = open_catalogue(dataset, vision=vision, cache=cache, words=words)
        scorer = validation_scorer(dataset, max_products=VALIDATION_PRODUCTS)
        products = product_features(retriever, catalogue.texts, cache=cache)
        if settings is None:
            judged = open_judged(dataset, "train")
            text = KeptText(query_features(retriever, judged.queries, cache=cache), products)
            inputs = TrainingInputs(catalogue, judged, text)
        else:
            inputs = query_inputs(retriever, dataset, catalogue, settings=settings, cache=cache)
        return cls(
            inputs=inputs,
            scorer=scorer,
            query_features=query_features(retriever, scorer.queries, cache=cache),
            product_features=products,
        )

    @torch.no_grad()
    def score_mean(self, retriever: Retriever) -> Figures:
        """Figures of the mean of text and image embedding, the start of every fusion."""
        rows = self.scorer.products
        encoder, head = retriever.image_encoder, retriever.image_head
        if encoder is None or head is None:
            raise RuntimeError("a text-only retriever has no image tower to score")
        image = head(encoded_images(encoder, self.catalogue, rows, device=retriever.device))
        text = retriever.text_head(self.product_features[torch.from_numpy(rows)])
        mixed = text * _column(self.catalogue.has_text[rows]).to(text)
        mixed = mixed + image * _column(self.catalogue.has_image[rows]).to(text)
        return self.scorer.score(
            retriever.query_head(self.query_features).float().cpu().numpy(),
            F.normalize(mixed, dim=-1).float().cpu().numpy(),
        )


def encoder_rate(
    vision: VisionSettings, *, pretrained: float, random: float, photographs: int
) -> float:
    """At which rate the vision backbone learns.

    A backbone of random weights learns a few thousand photographs by heart in as many steps as tens
    of thousands teach it something, so with few of them its rate is lower in proportion: rate times
    passes over each photograph stays the same.

    Args:
        vision: Says where the weights come from, and how many photographs allow the full rate.
        pretrained: The rate of pretrained weights.
        random: The full rate of random ones.
        photographs: Of the catalogue.

    Source: ours, measured on two catalogues (docs/experiments.md).
    """
    if vision.backbone != "config":
        return pretrained
    return random * min(1.0, photographs / vision.full_rate_from if vision.full_rate_from else 1.0)


def _column(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Tensor:
    return torch.from_numpy(mask).unsqueeze(1)
