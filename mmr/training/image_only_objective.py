"""The loss of the image head that serves products without a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmr.config.training import FusionStageSettings
from mmr.models.retriever import Retriever
from mmr.training.processes import gathered, own_part
from mmr.training.query_objective import QueryObjective, TrainingBatch, TrainingInputs
from mmr.training.targets import Targets
from mmr.types import Int64Array


class ImageOnlyObjective(QueryObjective):
    """Query against the product's image alone, by a head of its own.

    Beside a text, the image head learns to add what the text leaves open and forgets what the text
    says better. A product that has nothing but its photograph needs the opposite, so it gets a head
    that learns as if there were no texts. Queries and backbones stay as they are.

    Args:
        retriever: Its image-only head is trained in place.
        inputs: Data.
        image_features: `(products, features)`, of the frozen vision backbone.
        settings: Batch sizes and loss numbers of stage C.

    Attributes:
        head: What learns.

    Source: ours.
    """

    def __init__(
        self,
        retriever: Retriever,
        inputs: TrainingInputs,
        image_features: Tensor,
        settings: FusionStageSettings,
    ) -> None:
        if retriever.image_only_head is None:
            raise RuntimeError("with_image_only_head comes first")
        self.head: nn.Module = retriever.image_only_head
        self._image_features = image_features
        super().__init__(retriever, inputs, settings)

    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """See `QueryObjective`."""
        query = self.query_embeddings(batch)
        own = self.product_embeddings(own_part(batch.products))
        image = gathered(own, rows=len(batch.products))
        _, has_image = self.present(batch.products)
        return self.matching(query, image[has_image], targets.of(has_image))

    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """See `QueryObjective`."""
        features = self._image_features
        own = features[torch.from_numpy(rows).to(features.device)].to(self.retriever.device)
        embeddings: Tensor = self.head(own)
        return embeddings
