"""Training techniques as rungs: each one toggled against what the preset has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr.ablation.rungs import WHOLE_CHAIN, Rung, Step, overridden
from mmr.config.run import RunSettings

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
    """

    name: str
    description: str
    on: Overrides
    off: Overrides
    first: Step
    steps: tuple[Step, ...] = WHOLE_CHAIN


def _one_rate(settings: RunSettings) -> Mapping[str, Any]:
    return {"align.loop.backbone_learning_rate": settings.align.loop.learning_rate}


def _two_rates(settings: RunSettings) -> Mapping[str, Any]:
    loop = settings.align.loop
    rate = loop.backbone_learning_rate
    slower = rate if rate < loop.learning_rate else loop.learning_rate / 10
    return {"align.loop.backbone_learning_rate": slower}


TECHNIQUES: Sequence[Technique] = (
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
        "separate-rates",
        "stage B: the image network learns more slowly than its head",
        on=_two_rates,
        off=_one_rate,
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
)


def technique_rungs(settings: RunSettings, *, whole: str, text: str) -> list[Rung]:
    """One rung a technique: without it where the preset has it, with it where it has not.

    Args:
        settings: The preset.
        whole: The rung that stands for the preset's whole chain.
        text: The rung that stands for its text-only towers.
    """
    return [
        _rung(technique, settings, against=whole if len(technique.steps) > 1 else text)
        for technique in TECHNIQUES
    ]


def _rung(technique: Technique, settings: RunSettings, *, against: str) -> Rung:
    on, off = (
        values(settings) if callable(values) else values for values in (technique.on, technique.off)
    )
    is_off = overridden(settings, off) == settings
    return Rung(
        technique.name,
        f"{'+' if is_off else '−'} {technique.name}",
        technique.description,
        steps=technique.steps,
        overrides=on if is_off else off,
        first=technique.first,
        against=against,
    )
