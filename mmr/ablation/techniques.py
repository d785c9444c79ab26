"""The training techniques that can be toggled, as data: a new one is a new entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr.ablation.rungs import WHOLE_CHAIN, Step
from mmr.config.run import RunSettings

_QUERY_STAGES = ("text_only", "align", "fusion")

Overrides = Mapping[str, Any] | Callable[[RunSettings], Mapping[str, Any]]


@dataclass(frozen=True)
class Technique:
    """One training technique in one stage.

    Attributes:
        name: As typed on the command line; ends in the stage where a technique acts in several.
        description: What it does, in a line.
        on: Settings that switch it on; a function where they depend on the preset's.
        off: Settings that switch it off.
        first: The first step that it changes.
        steps: The chain whose end is measured. A technique of the text-only towers is measured
            on them, which costs a minute and not the whole chain.
        teacher: Rung whose model it learns from.
    """

    name: str
    description: str
    on: Overrides
    off: Overrides
    first: Step
    steps: tuple[Step, ...] = WHOLE_CHAIN
    teacher: str | None = None


def _in_text_and_fusion(
    name: str, description: str, on: Mapping[str, Any], off: Mapping[str, Any]
) -> list[Technique]:
    """A technique of the stages that learn from queries, in the text-only towers and in C."""

    def of(stage: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {f"{stage}.{path}": value for path, value in values.items()}

    return [
        Technique(
            f"{name}.text",
            f"text-only towers: {description}",
            of("text_only", on),
            of("text_only", off),
            Step.TEXT_ONLY,
            (Step.TEXT_ONLY,),
        ),
        Technique(
            f"{name}.fusion",
            f"stage C: {description}",
            of("fusion", on),
            of("fusion", off),
            Step.FUSION,
        ),
    ]


def _one_rate(settings: RunSettings) -> Mapping[str, Any]:
    return {"align.loop.backbone_learning_rate": settings.align.loop.learning_rate}


def _two_rates(settings: RunSettings) -> Mapping[str, Any]:
    loop = settings.align.loop
    rate = loop.backbone_learning_rate
    slower = rate if rate < loop.learning_rate else loop.learning_rate / 10
    return {"align.loop.backbone_learning_rate": slower}


def _large_batches(settings: RunSettings) -> Mapping[str, Any]:
    """Four times the photographs a step in a quarter of the steps: the same compute."""
    stage = settings.vision
    return {
        "vision.batch_size": 4 * stage.batch_size,
        "vision.images_at_once": stage.images_at_once or stage.batch_size,
        "vision.loop.steps": max(1, stage.loop.steps // 4),
        "vision.loop.validate_every": max(1, stage.loop.validate_every // 4),
    }


TECHNIQUES: Sequence[Technique] = (
    *_in_text_and_fusion(
        "same-text-masking",
        "products with the text of a relevant one are no negatives",
        on={"techniques.masking.same_text": True},
        off={"techniques.masking.same_text": False},
    ),
    *_in_text_and_fusion(
        "same-query-masking",
        "products relevant to the same query in another spelling are no negatives",
        on={"techniques.masking.same_query": True},
        off={"techniques.masking.same_query": False},
    ),
    *_in_text_and_fusion(
        "guide-masking",
        "products that the stage's start scores above the relevant ones are no negatives",
        on={"techniques.masking.guide_margin": 0.0},
        off={"techniques.masking.guide_margin": None},
    ),
    *_in_text_and_fusion(
        "hard-negatives",
        "negatives mined with the model of the moment, kept below the positives' score",
        on={"techniques.hard_negatives.count": 2},
        off={"techniques.hard_negatives.count": 0},
    ),
    *_in_text_and_fusion(
        "sibling-positives",
        "products of queries that share a product are positives too (MAKE)",
        on={"techniques.keyword_enhancement.sibling_products": "positives"},
        off={"techniques.keyword_enhancement.sibling_products": "negatives"},
    ),
    *_in_text_and_fusion(
        "sibling-masking",
        "products of queries that share a product are no negatives",
        on={"techniques.keyword_enhancement.sibling_products": "ignored"},
        off={"techniques.keyword_enhancement.sibling_products": "negatives"},
    ),
    *_in_text_and_fusion(
        "query-enrichment",
        "queries that share a product enrich each other's embedding while training (MAKE)",
        on={"techniques.keyword_enhancement.enrichment": 0.3},
        off={"techniques.keyword_enhancement.enrichment": 0.0},
    ),
    *_in_text_and_fusion(
        "query-augmentation",
        "words of queries are dropped or change places; colours stay",
        on={"techniques.query_text.wordings": 4},
        off={"techniques.query_text.wordings": 0},
    ),
    *_in_text_and_fusion(
        "category-batches",
        "a batch is made of sub-batches of one category each",
        on={"batch.category_queries": 8},
        off={"batch.category_queries": 0},
    ),
    *_in_text_and_fusion(
        "ema",
        "running averages of the weights are validated and kept",
        on={"loop.ema_decay": 0.99},
        off={"loop.ema_decay": 0.0},
    ),
    Technique(
        "word-vectors",
        "text-only towers: a learnt vector for each word piece beside the frozen backbone",
        on={"model.text.words": True},
        off={"model.text.words": False},
        first=Step.TEXT_ONLY,
        steps=(Step.TEXT_ONLY,),
    ),
    Technique(
        "expansion.text",
        "text-only towers: titles are followed by words of the training queries (doc2query style)",
        on={"model.text.expansion": True},
        off={"model.text.expansion": False},
        first=Step.TEXT_ONLY,
        steps=(Step.TEXT_ONLY,),
    ),
    Technique(
        "expansion",
        "titles are followed by words of the training queries that a product answers best",
        on={"model.text.expansion": True},
        off={"model.text.expansion": False},
        first=Step.TEXT_ONLY,
    ),
    Technique(
        "folds.text",
        "text-only towers: four folds of queries, not two; texts in training miss fewer words",
        on={"text_only.batch.folds": 4},
        off={"text_only.batch.folds": 2},
        first=Step.TEXT_ONLY,
        steps=(Step.TEXT_ONLY,),
    ),
    Technique(
        "folds",
        "four folds of queries, not two: texts in training miss fewer of their later words",
        on={f"{stage}.batch.folds": 4 for stage in _QUERY_STAGES},
        off={f"{stage}.batch.folds": 2 for stage in _QUERY_STAGES},
        first=Step.TEXT_ONLY,
    ),
    Technique(
        "graded-weights",
        "text-only towers: lower grades weigh less than better ones (GCL style)",
        on={"loss.grade_weights": {1: 0.3, 2: 1.0}},
        off={"loss.grade_weights": {1: 1.0, 2: 1.0}},
        first=Step.TEXT_ONLY,
        steps=(Step.TEXT_ONLY,),
    ),
    Technique(
        "augmentation",
        "photographs are shifted, zoomed and mirrored in training; hue is never touched",
        on={"vision.augment": True, "align.augment": True},
        off={"vision.augment": False, "align.augment": False},
        first=Step.VISION,
    ),
    Technique(
        "colour-path",
        "a soft colour histogram reaches the image head by a path of its own",
        on={"model.vision.colour_bins": 6},
        off={"model.vision.colour_bins": 0},
        first=Step.VISION,
    ),
    Technique(
        "large-batches",
        "stage A: four times the batch by gradient caching, in a quarter of the steps",
        on=_large_batches,
        off={"vision.images_at_once": 0},
        first=Step.VISION,
    ),
    Technique(
        "vision-ema",
        "stage A: running averages of the weights are validated and kept",
        on={"vision.loop.ema_decay": 0.99},
        off={"vision.loop.ema_decay": 0.0},
        first=Step.VISION,
    ),
    Technique(
        "unfreezing",
        "stage B: the image network stays frozen for the first third of the steps",
        on={"align.loop.unfreeze_after": 0.33},
        off={"align.loop.unfreeze_after": 0.0},
        first=Step.ALIGN,
    ),
    Technique(
        "separate-rates",
        "stage B: the image network learns more slowly than its head",
        on=_two_rates,
        off=_one_rate,
        first=Step.ALIGN,
    ),
    Technique(
        "hard-negatives.align",
        "stage B: negatives mined with the model of the moment, kept below the positives' score",
        on={"align.techniques.hard_negatives.count": 2},
        off={"align.techniques.hard_negatives.count": 0},
        first=Step.ALIGN,
    ),
    Technique(
        "kept-domain-loss",
        "stage B keeps stage A's text-image loss",
        on={"align.domain_weight": 0.25},
        off={"align.domain_weight": 0.0},
        first=Step.ALIGN,
    ),
    Technique(
        "gradient-blending",
        "stage C keeps stage B's losses",
        on={"fusion.auxiliary_weight": 0.25},
        off={"fusion.auxiliary_weight": 0.0},
        first=Step.FUSION,
    ),
    Technique(
        "modality-dropout",
        "stage C hides the text or the image of some products",
        on={"fusion.text_dropout": 0.1, "fusion.image_dropout": 0.1},
        off={"fusion.text_dropout": 0.0, "fusion.image_dropout": 0.0},
        first=Step.FUSION,
    ),
    Technique(
        "text-answers",
        "stage C answers titles without their colours as the text alone does",
        on={"fusion.text_answers.weight": 0.3},
        off={"fusion.text_answers.weight": 0.0},
        first=Step.FUSION,
    ),
    Technique(
        "distillation",
        "stage C learns from the preset's own last model as well (a generation later)",
        on={},
        off={"fusion.techniques.distillation.teacher": None},
        first=Step.FUSION,
        teacher="preset",
    ),
    Technique(
        "matryoshka",
        "stage C: the first half and quarter of the dimensions have to serve by themselves",
        on=lambda settings: {
            "loss.matryoshka_dims": (settings.model.dim // 2, settings.model.dim // 4),
            "fusion.principal_axes": False,  # or they would decide which dimensions are the first
        },
        off={"loss.matryoshka_dims": ()},
        first=Step.FUSION,
    ),
)
