"""Training techniques as rungs: each one toggled against what the preset has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmr.ablation.rungs import Rung, Step, View, overridden
from mmr.ablation.techniques import TECHNIQUES, Technique
from mmr.config.run import RunSettings

# stages A and B go on with what they learnt, whatever it brings
_KEPT: Mapping[str, Any] = {"vision.only_if_better": False, "align.only_if_better": False}


def technique_rungs(settings: RunSettings, *, whole: str, text: str) -> list[Rung]:
    """One rung a technique: without it where the preset has it, with it where it has not.

    A technique of stages A or B alone cannot show itself where the preset leaves these stages out.
    If the preset may, it is measured with both stages kept, beside a rung that keeps them too.

    Args:
        settings: The preset.
        whole: The rung that stands for the preset's whole chain.
        text: The rung that stands for its text-only towers.
    """
    kept = _kept(against=whole)
    proven = overridden(settings, _KEPT) != settings
    rungs = [
        _kept_in_a_and_b(rung, kept) if proven and _acts_in_a_or_b_alone(rung) else rung
        for rung in (
            _rung(technique, settings, against=whole if len(technique.steps) > 1 else text)
            for technique in TECHNIQUES
        )
    ]
    matryoshka = next(rung for rung in rungs if rung.name == "matryoshka")
    return [*([kept] if proven else []), *rungs, *_half_dims(matryoshka, whole=whole)]


def _kept(*, against: str) -> Rung:
    return Rung(
        "preset-kept",
        "the preset, A and B kept",
        "stages A and B stay in, whatever they bring: what their techniques are compared with",
        overrides=_KEPT,
        first=Step.VISION,
        against=against,
    )


def _acts_in_a_or_b_alone(rung: Rung) -> bool:
    stages = {path.split(".")[0] for path in rung.overrides}
    return bool(stages) and stages <= {"vision", "align"}


def _kept_in_a_and_b(rung: Rung, kept: Rung) -> Rung:
    return replace(
        rung,
        title=f"{rung.title}, A and B kept",
        overrides={**kept.overrides, **rung.overrides},
        first=kept.first,
        against=kept.name,
    )


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
        teacher=technique.teacher if is_off else None,
    )


def _half_dims(matryoshka: Rung, *, whole: str) -> list[Rung]:
    """Half the dimensions: with principal axes, without them, and with Matryoshka instead."""
    half = "preset-half"
    return [
        Rung(
            half,
            "the preset, half the dimensions",
            "the first half of each vector",
            view=View.HALF_DIMS,
            against=whole,
        ),
        Rung(
            "unturned-half",
            "− principal axes, half the dimensions",
            "the first half of each vector as stage C left it",
            overrides={"fusion.principal_axes": False},
            first=Step.FUSION,
            view=View.HALF_DIMS,
            against=half,
        ),
        Rung(
            "matryoshka-half",
            f"{matryoshka.title}, half the dimensions",
            "the first half of each vector",
            overrides=matryoshka.overrides,
            first=matryoshka.first,
            view=View.HALF_DIMS,
            against=half,
        ),
    ]
