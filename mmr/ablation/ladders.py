"""The ladders that ship with mmr, as data: a new rung is a new line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmr.ablation.rungs import Ladder, Rung, Step, View
from mmr.ablation.technique_rungs import technique_rungs
from mmr.ablation.vision_sizes import larger_vision
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.errors import ConfigError

TEXT_ONLY = Rung(
    "text-only",
    "text-only (tuned)",
    "query and product text alone, both heads tuned: the baseline of every claim",
    steps=(Step.TEXT_ONLY,),
)
# rungs that are asked nothing about products without text need no head for these
_NO_IMAGE_ONLY: dict[str, Any] = {"fusion.image_only_steps": 0}
_UNPROVEN: dict[str, Any] = {"fusion.only_if_better": False}  # the fusion asked for is measured
_CONCAT: dict[str, Any] = {
    **_NO_IMAGE_ONLY,
    "fusion.kind": FusionKind.CONCAT,
    "fusion.text_answers.weight": 0.0,  # as in the probe of `only_if_better`
}
# the losses of query with text and query with image are alignment: no part of a naive concatenation
_NAIVE: dict[str, Any] = {**_CONCAT, "fusion.auxiliary_weight": 0.0}
_UNTUNED: dict[str, Any] = {**_NAIVE, "vision.loop.steps": 0}
_NO_ALIGNMENT = (Step.TEXT_ONLY, Step.VISION, Step.FUSION)


def _paper(settings: RunSettings) -> Sequence[Rung]:
    return [
        TEXT_ONLY,
        Rung(
            "image",
            "+ image, naive concat",
            "an image network that has not seen the shop, joined to the text by concatenation",
            steps=_NO_ALIGNMENT,
            overrides=_UNTUNED,
            against="text-only",
        ),
        Rung(
            "domain",
            "+ domain fine-tuning",
            "the image network learns the shop's photographs and texts (A), then concatenation",
            steps=_NO_ALIGNMENT,
            overrides=_NAIVE,
            against="image",
        ),
        Rung(
            "alignment",
            "+ two-stage alignment",
            "queries meet product text and product image (B), then concatenation",
            overrides=_CONCAT,
            against="domain",
        ),
        Rung(
            "fusion",
            "+ fusion network",
            "bilinear block and mixture of experts in place of concatenation (C)",
            overrides={"fusion.kind": FusionKind.BILINEAR_EXPERTS},
            against="alignment",
        ),
    ]


def _fusion(settings: RunSettings) -> Sequence[Rung]:
    base = "mean"
    kinds = [
        Rung(
            "text-of-aligned" if kind is FusionKind.TEXT_ONLY else kind.replace("_", "-"),
            f"fusion {kind}",
            f"`{kind}` trained from the same aligned towers",
            overrides={**_NO_IMAGE_ONLY, **_UNPROVEN, "fusion.kind": kind},
            against=TEXT_ONLY.name if kind == base else base,
        )
        for kind in FusionKind
    ]
    return [TEXT_ONLY, *sorted(kinds, key=lambda rung: rung.name != base)]


def _techniques(settings: RunSettings) -> Sequence[Rung]:
    preset = Rung("preset", "the preset", "as the preset has it", against="text-only")
    others = technique_rungs(settings, whole=preset.name, text=TEXT_ONLY.name)
    return [
        replace(rung, overrides={**rung.overrides, **_NO_IMAGE_ONLY, **_UNPROVEN})
        if rung.against
        else rung
        for rung in (TEXT_ONLY, preset, *others)
    ]


def _vision_size(settings: RunSettings) -> Sequence[Rung]:
    try:
        larger = larger_vision(settings.model.vision)
    except ConfigError as error:
        raise ConfigError(f"The ladder vision-size: {error}") from error
    return [
        TEXT_ONLY,
        Rung(
            "larger-untuned",
            "larger network, untuned",
            "a larger image network that has not seen the shop, concatenation",
            steps=_NO_ALIGNMENT,
            overrides={**_UNTUNED, **_UNPROVEN, **larger},
            against="text-only",
        ),
        Rung(
            "small-untuned",
            "small network, untuned",
            "the preset's image network without domain fine-tuning, concatenation",
            steps=_NO_ALIGNMENT,
            overrides={**_UNTUNED, **_UNPROVEN},
            against="larger-untuned",
        ),
        Rung(
            "small-tuned",
            "small network, domain-tuned",
            "the preset's image network after domain fine-tuning (A), concatenation",
            steps=_NO_ALIGNMENT,
            overrides={**_NAIVE, **_UNPROVEN, "vision.only_if_better": False},
            against="larger-untuned",
        ),
    ]


def _staging(settings: RunSettings) -> Sequence[Rung]:
    return [
        TEXT_ONLY,
        Rung(
            "end-to-end",
            "end to end from scratch",
            "heads, image network and fusion learn at once; as many photographs processed as A + B",
            steps=(Step.END_TO_END,),
            against="text-only",
            samples_of="staged",
        ),
        Rung("staged", "staged", "text, then A, B and C", against="end-to-end"),
    ]


def _robustness(settings: RunSettings) -> Sequence[Rung]:
    final, image_only = "final", "image-only"
    return [
        TEXT_ONLY,
        Rung(
            image_only,
            "image-only",
            "the product's image alone, trained from the same aligned towers as long as it gains",
            overrides={"fusion.kind": FusionKind.IMAGE_ONLY, "fusion.loop.passes": 0},
            first=Step.FUSION,
            against="text-only",
        ),
        Rung(final, "fused", "the preset's last stage", against="text-only"),
        Rung(
            "no-images",
            "fused, all images removed",
            "what is left without any photograph, beside the tuned text-only tower",
            view=View.NO_IMAGES,
            against="text-only",
        ),
        Rung(
            "no-text",
            "fused, all text removed",
            "what is left without any title or description, beside the image-only tower",
            view=View.NO_TEXT,
            against=image_only,
        ),
        Rung(
            "half-dims",
            "fused, half the dimensions",
            "the first half of each vector",
            view=View.HALF_DIMS,
            against=final,
        ),
        Rung(
            "int8",
            "fused, int8 vectors",
            "product vectors rounded to 8 bits, one scale per vector",
            view=View.INT8,
            against=final,
        ),
    ]


LADDERS = {
    ladder.name: ladder
    for ladder in (
        Ladder("paper", "What does each step of the paper bring?", True, _paper),
        Ladder("fusion", "Which fusion, from the same aligned towers?", False, _fusion),
        Ladder("techniques", "What does each technique bring?", False, _techniques),
        Ladder(
            "vision-size",
            "A small domain-tuned image network, or a larger untuned one?",
            False,
            _vision_size,
        ),
        Ladder(
            "staging",
            "Staged, or end to end at equal compute of the image network?",
            True,
            _staging,
        ),
        Ladder(
            "robustness", "What is lost with a modality, dimensions, or bits?", False, _robustness
        ),
    )
}


def find_ladder(name: str) -> Ladder:
    """The ladder of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LADDERS:
        raise ConfigError(f"There is no ladder {name!r}, only {', '.join(LADDERS)}.")
    return LADDERS[name]
