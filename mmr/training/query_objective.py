"""What the objectives of queries against products share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.config.training import QueryStageSettings
from mmr.models.retriever import Retriever
from mmr.training.data import Catalogue, JudgedQueries, QueryBatches
from mmr.training.hard_negatives import HardNegatives
from mmr.training.losses import distillation_loss, over_prefixes, query_product_loss
from mmr.training.processes import gathered, own_part
from mmr.training.query_text import drawn_wordings
from mmr.training.scale import LearntScale
from mmr.training.scorers import Scorer
from mmr.training.siblings import Siblings, enriched
from mmr.training.targets import TargetRules, Targets
from mmr.training.text_answers import AskedTitles
from mmr.training.text_source import TextSource
from mmr.types import Int64Array

_EMBEDDED_AT_ONCE = 1_024  # rows, so that mining needs little memory


@dataclass(frozen=True)
class TrainingInputs:
    """What every objective reads.

    Attributes:
        catalogue: All products.
        judged: Training queries.
        text: Features of their texts.
        guide: Tells likely positives among the negatives, for `masking.guide_margin`.
        teacher: The stronger scorer of `distillation`.
        categories: `(queries,)`, for `batch.category_queries`.
        folds: `(queries,)`, of queries whose words are in product texts (`ShownTexts`).
    """

    catalogue: Catalogue
    judged: JudgedQueries
    text: TextSource
    guide: Scorer | None = None
    teacher: Scorer | None = None
    categories: Int64Array | None = None
    folds: Int64Array | None = None


@dataclass(frozen=True)
class TrainingBatch:
    """The data of one step.

    Attributes:
        step: Its number.
        queries: `(queries,)`, rows.
        wordings: `(queries,)`, see `TextSource`; None for the queries' own.
        siblings: `(queries, drawn)`, rows of queries that enrich them, -1 for none; or None.
        products: `(products,)`, rows of the catalogue.
        targets: How they belong together.
        fold: Of the queries, which decides the product texts that they see; None for all texts.
        pixels: `(own products, 3, height, width)` uint8, where the stage reads photographs.
        asked: Titles asked beside the queries, where the stage keeps what the text answers.
    """

    step: int
    queries: Int64Array
    wordings: Int64Array | None
    siblings: Int64Array | None
    products: Int64Array
    targets: Targets
    fold: int | None = None
    pixels: Tensor | None = None
    asked: AskedTitles | None = None


class QueryObjective(ABC):
    """What a stage that learns from queries minimises.

    Batches, the learnt scale, and the techniques that every such stage may use live here; a
    subclass says how products are embedded and which losses count.

    Args:
        retriever: Trained in place.
        inputs: Data.
        settings: Batches, losses, and what is done beside the plain loss.

    Attributes:
        scale: The learnt scale.
        kept: What checkpoints hold beside the retriever.
    """

    def __init__(
        self,
        retriever: Retriever,
        inputs: TrainingInputs,
        settings: QueryStageSettings,
    ) -> None:
        self.retriever, self.inputs = retriever, inputs
        self._loss, self._seed = settings.loss, settings.seed
        self._techniques = techniques = settings.stage.techniques
        self.scale = LearntScale(settings.loss).to(retriever.device)
        self.kept = nn.ModuleDict({"scale": self.scale})
        keywords = techniques.keyword_enhancement
        self._siblings: Siblings | None = None
        if keywords.needed:
            self._siblings = Siblings(inputs.judged.grades, settings=keywords, seed=self._seed)
        self._targets = TargetRules(
            inputs.judged,
            inputs.catalogue,
            settings=techniques,
            siblings=self._siblings,
            guide=inputs.guide,
            teacher=inputs.teacher,
        )
        self._mined = self._new_hard_negatives()
        if self._mined is not None:
            self.kept["hard_negatives"] = self._mined
        drawing = (self._mined, inputs.teacher)
        self._batches = QueryBatches(
            inputs.judged,
            products=len(inputs.catalogue),
            settings=settings.stage.batch,
            seed=self._seed,
            further=[source.draw for source in drawing if source is not None],
            categories=inputs.categories,
            folds=inputs.folds,
        )

    def batch(self, step: int) -> TrainingBatch:
        """Queries and products of one step, and all that is known of them."""
        drawn = self._batches(step)
        text, keywords = self._techniques.query_text, self._techniques.keyword_enhancement
        wordings = siblings = None
        if text.wordings:
            wordings = drawn_wordings(drawn.queries, settings=text, seed=self._seed, step=step)
        if self._siblings is not None and keywords.enrichment:
            siblings = self._siblings.draw(drawn.queries, step=step)
        targets = self._targets(drawn.queries, drawn.products)
        return TrainingBatch(
            step, drawn.queries, wordings, siblings, drawn.products, targets, fold=drawn.fold
        )

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The loss of one batch, a scalar."""
        if self._mined is not None and self._mined.due(batch.step):
            with _evaluating(self.retriever):
                self._mined.mine(self._embedded, step=batch.step)
        return self.batch_loss(batch, batch.targets.to(self.retriever.device))

    @abstractmethod
    def batch_loss(self, batch: TrainingBatch, targets: Targets) -> Tensor:
        """The loss of one batch, a scalar; its targets are on the retriever's device."""

    @abstractmethod
    def product_embeddings(self, rows: Int64Array) -> Tensor:
        """Embeddings of some products by the model as it is, `(rows, dim)`, nothing hidden."""

    def query_embeddings(self, batch: TrainingBatch) -> Tensor:
        """Embeddings of the batch's queries, `(queries, dim)`; each process encodes its part."""
        head, text = self.retriever.query_head, self.inputs.text
        wordings = None if batch.wordings is None else own_part(batch.wordings)
        own: Tensor = head(text.queries(own_part(batch.queries), wordings))
        if batch.siblings is not None:
            siblings = own_part(batch.siblings)
            others = head(text.queries(siblings.clip(min=0).ravel()))
            own = enriched(
                own,
                others.unflatten(0, siblings.shape),
                known=torch.from_numpy(siblings >= 0).to(own.device),
                weight=self._techniques.keyword_enhancement.enrichment,
            )
        return gathered(own, rows=len(batch.queries))

    def present(self, rows: Int64Array) -> tuple[Tensor, Tensor]:
        """Which of some products have a text, and which an image: two `(rows,)`, bool."""
        catalogue, device = self.inputs.catalogue, self.retriever.device
        return (
            torch.from_numpy(catalogue.has_text[rows]).to(device),
            torch.from_numpy(catalogue.has_image[rows]).to(device),
        )

    def matching(self, queries: Tensor, products: Tensor, targets: Targets) -> Tensor:
        """The contrastive loss of queries `(queries, dim)` and products `(products, dim)`."""

        def loss(left: Tensor, right: Tensor) -> Tensor:
            return query_product_loss(
                left,
                right,
                targets.grades,
                scale=self.scale(),
                grade_weights=self._loss.grade_weights,
                ignored=targets.ignored,
            )

        return over_prefixes(loss, queries, products, dims=self._loss.matryoshka_dims)

    def leading(self, queries: Tensor, products: Tensor, targets: Targets) -> Tensor:
        """The contrastive loss of what the stage is for, and a teacher's opinion beside it."""
        contrastive = self.matching(queries, products, targets)
        if targets.teacher is None:
            return contrastive
        settings, teacher = self._techniques.distillation, targets.teacher

        def loss(left: Tensor, right: Tensor) -> Tensor:
            return distillation_loss(self.scale() * left @ right.T, settings.scale * teacher)

        divergence = over_prefixes(loss, queries, products, dims=self._loss.matryoshka_dims)
        return contrastive + settings.weight * divergence

    def single_modalities(
        self, query: Tensor, text: Tensor, image: Tensor, products: Int64Array, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Query against text and query against image, each over the products that have it."""
        has_text, has_image = self.present(products)
        return (
            self.matching(query, text[has_text], targets.of(has_text)),
            self.matching(query, image[has_image], targets.of(has_image)),
        )

    def _new_hard_negatives(self) -> HardNegatives | None:
        settings = self._techniques.hard_negatives
        if not settings.count:
            return None
        return HardNegatives(
            self.inputs.judged.grades,
            never=self._targets.never_mined,
            settings=settings,
            seed=self._seed,
        ).to(self.retriever.device)

    def _embedded(self, rows: Int64Array) -> tuple[Tensor, Tensor]:
        """All training queries and some products, a part at a time."""
        queries = np.arange(len(self.inputs.judged), dtype=np.int64)
        text, head = self.inputs.text, self.retriever.query_head
        return (
            torch.cat([head(text.queries(part)) for part in _parts(queries)]),
            torch.cat([self.product_embeddings(part) for part in _parts(rows)]),
        )


def mean_embedding(text: Tensor, image: Tensor, *, has_text: Tensor, has_image: Tensor) -> Tensor:
    """The mean of both modalities, a missing one counting nothing: `(products, dim)`."""
    mixed = text * has_text.unsqueeze(1) + image * has_image.unsqueeze(1)
    return F.normalize(mixed, dim=-1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model is in evaluation; afterwards every part is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _parts(rows: Int64Array) -> list[Int64Array]:
    starts = range(0, len(rows), _EMBEDDED_AT_ONCE)
    return [rows[start : start + _EMBEDDED_AT_ONCE] for start in starts]
