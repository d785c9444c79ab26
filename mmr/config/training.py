"""How each training stage runs. Every stage has the same loop and its own numbers."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mmr.config.base import Settings
from mmr.config.model import FusionKind, ModelSettings
from mmr.config.techniques import TechniqueSettings, TextAnswerSettings


class LoopSettings(Settings):
    """The optimisation loop."""

    steps: NonNegativeInt = Field(
        1000, description="Optimizer steps at most; 0 keeps the start as it is."
    )
    passes: float = Field(
        0.0,
        ge=0,
        description="Passes at most over the training queries, or in stage A over the photographs: "
        "a small shop has fewer steps, and validations in proportion; 0 sets no limit.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak rate of new parts, after warm-up.")
    backbone_learning_rate: float = Field(
        3e-5, ge=0, description="Peak rate of a pretrained backbone; 0 freezes it."
    )
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.05, ge=0, le=1, description="Share of the steps.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    validate_every: PositiveInt = Field(100, description="Steps between validations.")
    patience: PositiveInt = Field(
        5, description="Validations without a better one before the stage stops early."
    )
    checkpoint_every: PositiveInt = Field(100, description="Steps between checkpoints.")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Validate and keep running averages of the weights, of this decay a step; 0 "
        "takes the weights as they are.",
    )
    unfreeze_after: float = Field(
        0.0, ge=0, lt=1, description="Share of the steps in which backbones stay frozen."
    )
    bf16: bool = Field(True, description="Multiply in bf16 where the hardware does so natively.")
    compile: bool = Field(
        False, description="Compile backbones that learn (`torch.compile`): pays on GPUs."
    )

    def for_rows(self, rows: int, *, batch: int) -> Self:
        """The same, ended after `passes` over so many rows, with as many validations.

        Args:
            rows: Queries or photographs that the stage learns from.
            batch: How many of them a step takes.
        """
        if not self.passes or not self.steps:
            return self
        steps = min(self.steps, math.ceil(self.passes * rows / batch))
        every = max(1, round(self.validate_every * steps / self.steps))
        return self.model_copy(update={"steps": steps, "validate_every": every})


class QueryBatchSettings(Settings):
    """How queries and products are put together in a batch."""

    queries: PositiveInt = Field(128, description="Queries a batch.")
    positives: PositiveInt = Field(4, description="Judged products drawn for each query.")
    negatives: NonNegativeInt = Field(
        512, description="Further products drawn from the whole catalogue for each batch."
    )
    category_queries: NonNegativeInt = Field(
        0, description="Queries of one category side by side in a batch; 0 mixes them."
    )
    categories: PositiveInt = Field(
        32, description="Clusters of queries, by the text of their products."
    )
    folds: int = Field(
        4,
        ge=2,
        description="Parts of the training queries where product texts hold words of them "
        "(`model.text.expansion`): a batch is of one, and reads the words of the others alone.",
    )

    @model_validator(mode="after")
    def _check_sub_batches(self) -> Self:
        if self.category_queries and self.queries % self.category_queries:
            raise ValueError(
                f"queries ({self.queries}) must be a multiple of category_queries "
                f"({self.category_queries})"
            )
        return self


class VisionStage(Settings):
    """Stage A: the vision backbone learns the shop's domain from image and product text."""

    loop: LoopSettings = LoopSettings(steps=1200)
    only_if_better: bool = Field(
        False,
        description="Keep the stage only if a concatenation of text and image that learns after it "
        "answers the validation queries at least as well as one that learns before it: by NDCG@10, "
        "Recall@10 and Recall@100.",
    )
    batch_size: PositiveInt = Field(256, description="Products a step.")
    augment: bool = Field(True, description="Shift, zoom and mirror images; hue is never touched.")
    images_at_once: NonNegativeInt = Field(
        0, description="Photographs in one forward pass (GradCache); 0 for the whole batch."
    )


class TextOnlyStage(Settings):
    """The tuned text-only towers: the baseline every gain is claimed against."""

    loop: LoopSettings = LoopSettings()
    batch: QueryBatchSettings = QueryBatchSettings()
    word_learning_rate: float = Field(
        3e-3, ge=0, description="Peak rate of the word vectors; 0 keeps them as they are."
    )
    techniques: TechniqueSettings = TechniqueSettings()


class AlignStage(Settings):
    """Stage B: queries meet product text and product image, each modality by itself."""

    loop: LoopSettings = LoopSettings()
    only_if_better: bool = Field(
        False,
        description="Keep the stage only if a concatenation of text and image that learns after it "
        "answers the validation queries at least as well as one that learns before it: by NDCG@10, "
        "Recall@10 and Recall@100.",
    )
    batch: QueryBatchSettings = QueryBatchSettings(queries=64, positives=3, negatives=64)
    image_weight: float = Field(0.5, ge=0, description="Weight of the query-image loss.")
    joint_weight: float = Field(1.0, ge=0, description="Weight of the query-mean loss.")
    domain_weight: float = Field(0.25, ge=0, description="Weight of stage A's text-image loss.")
    text_learning_rate: float = Field(
        0.0, ge=0, description="Peak rate of query head and text head; 0 keeps them as they are."
    )
    word_learning_rate: float = Field(
        0.0, ge=0, description="Peak rate of the word vectors; 0 keeps them as they are."
    )
    augment: bool = True
    images_at_once: NonNegativeInt = Field(
        0, description="Photographs in one forward pass (GradCache); 0 for the whole batch."
    )
    techniques: TechniqueSettings = TechniqueSettings()


class FusionStage(Settings):
    """Stage C: the fusion network learns on frozen encoders, stage B's losses kept beside."""

    kind: FusionKind = FusionKind.BILINEAR_EXPERTS
    loop: LoopSettings = LoopSettings(steps=2000)
    only_if_better: bool = Field(
        False,
        description="Keep the fusion network only if it answers the validation queries at least as "
        "well, by NDCG@10, Recall@10 and Recall@100, as a concatenation of the same towers, which "
        "takes its place otherwise. A concatenation that is below the text alone in one of them is "
        "drawn back towards the text.",
    )
    batch: QueryBatchSettings = QueryBatchSettings(queries=256, positives=4, negatives=1024)
    auxiliary_weight: float = Field(0.25, ge=0, description="Weight of stage B's losses.")
    text_learning_rate: float = Field(
        0.0, ge=0, description="Peak rate of query head and text head; 0 keeps them as they are."
    )
    word_learning_rate: float = Field(
        0.0, ge=0, description="Peak rate of the word vectors; 0 keeps them as they are."
    )
    image_only_steps: NonNegativeInt = Field(
        400,
        description="Optimizer steps at most of the image head that serves products without a "
        "text; 0 leaves them to the head that learns beside the text.",
    )
    principal_axes: bool = Field(
        True,
        description="Turn all vectors in the end so that their first dimensions say most: scores "
        "stay as they are, and shorter vectors lose little.",
    )
    text_dropout: float = Field(0.1, ge=0, lt=1, description="Share of products shown textless.")
    image_dropout: float = Field(0.1, ge=0, lt=1, description="Share shown without their image.")
    text_answers: TextAnswerSettings = TextAnswerSettings()
    techniques: TechniqueSettings = TechniqueSettings()


class EndToEndStage(Settings):
    """Everything at once from scratch: what staged training is measured against, no part of a run.

    Fresh heads, vision backbone and fusion learn together from the queries; the text backbone stays
    frozen, as in the stages.
    """

    kind: FusionKind = FusionKind.BILINEAR_EXPERTS
    loop: LoopSettings = Field(LoopSettings(), description="Its rates are the image tower's.")
    text_learning_rate: float = Field(4e-4, gt=0, description="Of query head and text head.")
    word_learning_rate: float = Field(
        3e-3, ge=0, description="Peak rate of the word vectors; 0 keeps them as they are."
    )
    fusion_learning_rate: float = Field(5e-4, gt=0, description="Of the fusion.")
    batch: QueryBatchSettings = QueryBatchSettings(queries=64, positives=3, negatives=64)
    auxiliary_weight: float = Field(
        0.25, ge=0, description="Weight of the query-text and query-image losses."
    )
    augment: bool = True
    images_at_once: NonNegativeInt = Field(
        0, description="Photographs in one forward pass (GradCache); 0 for the whole batch."
    )
    techniques: TechniqueSettings = TechniqueSettings()


class LossSettings(Settings):
    """What the contrastive losses share."""

    scale: float = Field(20.0, gt=0, description="Start of the learnt scale, 1 / temperature.")
    max_scale: float = Field(100.0, gt=0, description="The learnt scale is clamped here.")
    grade_weights: dict[int, float] = Field(
        default_factory=lambda: {1: 0.3, 2: 1.0},
        description="Weight of a positive pair by its grade when the query has better grades.",
    )
    matryoshka_dims: tuple[PositiveInt, ...] = Field(
        (), description="Lengths of the embedding's prefixes that have to serve by themselves too."
    )


class StageSettings(Settings):
    """What every training stage needs beside its own numbers."""

    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    seed: int = 7

    @model_validator(mode="after")
    def _check_matryoshka(self) -> Self:
        too_long = [dim for dim in self.loss.matryoshka_dims if dim >= self.model.dim]
        if too_long:
            raise ValueError(
                f"loss.matryoshka_dims names {too_long}, but must stay below model.dim "
                f"({self.model.dim})"
            )
        return self


class ProvenStageSettings(StageSettings):
    """What stages A, B and C share: each may have to prove that it helps.

    Attributes:
        probe: The concatenation that learns before and after stages A and B, and that stage C is
            held against; None asks for no proof.
    """

    probe: FusionStage | None = None


class VisionStageSettings(ProvenStageSettings):
    """All that decides stage A."""

    stage: VisionStage = VisionStage()


class TextOnlyStageSettings(StageSettings):
    """All that decides the text-only towers."""

    stage: TextOnlyStage = TextOnlyStage()


class AlignStageSettings(ProvenStageSettings):
    """All that decides stage B."""

    stage: AlignStage = AlignStage()


class FusionStageSettings(ProvenStageSettings):
    """All that decides stage C."""

    stage: FusionStage = FusionStage()


class EndToEndStageSettings(StageSettings):
    """All that decides training end to end."""

    stage: EndToEndStage = EndToEndStage()


# Stages that learn from queries, and so may use `TechniqueSettings`.
QueryStageSettings = (
    TextOnlyStageSettings | AlignStageSettings | FusionStageSettings | EndToEndStageSettings
)
