"""Training techniques as rungs: each one toggled against what the preset has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr.ablation.rungs import Rung, Step, overridden
from mmr.config.run import RunSettings


@dataclass(frozen=True)
class Technique:
    """One training technique.

    Attributes:
        name: As typed on the command line.
        description: What it does, in a line.
        on: Settings that switch it on.
        off: Settings that switch it off.
        first: The first step that it changes.
    """

    name: str
    description: str
    on: Mapping[str, Any]
    off: Mapping[str, Any]
    first: Step = Step.TEXT_ONLY


TECHNIQUES: Sequence[Technique] = (
    Technique(
        "augmentation",
        "photographs are shifted, zoomed and mirrored in training; hue is never touched",
        on={"vision.augment": True, "align.augment": True},
        off={"vision.augment": False, "align.augment": False},
        first=Step.VISION,
    ),
    Technique(
        "graded-weights",
        "lower grades weigh less than better ones (GCL style)",
        on={"loss.grade_weights": {1: 0.3, 2: 1.0}},
        off={"loss.grade_weights": {1: 1.0, 2: 1.0}},
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
        "colour-path",
        "a soft colour histogram reaches the image head by a path of its own",
        on={"model.vision.colour_bins": 6},
        off={"model.vision.colour_bins": 0},
        first=Step.VISION,
    ),
)


def technique_rungs(settings: RunSettings, *, against: str) -> list[Rung]:
    """One rung a technique: without it where the preset has it, with it where it has not."""
    return [_rung(technique, settings, against=against) for technique in TECHNIQUES]


def _rung(technique: Technique, settings: RunSettings, *, against: str) -> Rung:
    is_off = overridden(settings, technique.off) == settings
    return Rung(
        technique.name,
        f"{'+' if is_off else '−'} {technique.name}",
        technique.description,
        overrides=technique.on if is_off else technique.off,
        first=technique.first,
        against=against,
    )
