"""What a ladder is made of: rungs, each a chain of training steps with settings changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from mmr.config.run import RunSettings
from mmr.config.training import StageSettings
from mmr.errors import ConfigError


class Step(StrEnum):
    """A training stage, by the name that its reports carry."""

    TEXT_ONLY = "text_only"
    VISION = "finetune_vision"
    ALIGN = "align_queries"
    FUSION = "train_fusion"
    END_TO_END = "train_end_to_end"


class View(StrEnum):
    """What of a model and its catalogue is measured."""

    WHOLE = "whole"
    NO_IMAGES = "no_images"  # every photograph removed
    NO_TEXT = "no_text"  # every title and description removed
    HALF_DIMS = "half_dims"  # the first half of the dimensions, brought to unit length again
    INT8 = "int8"  # product vectors rounded to 8 bits


WHOLE_CHAIN = (Step.TEXT_ONLY, Step.VISION, Step.ALIGN, Step.FUSION)


@dataclass(frozen=True)
class Rung:
    """One system of a ladder.

    Attributes:
        name: As typed on the command line.
        title: As shown in tables.
        description: What the rung is, in a line.
        steps: The stages that train it, in order.
        overrides: Dotted setting to its value, on top of the preset.
        first: The first step that the overrides reach; steps before it are the preset's.
        view: What is measured.
        against: The rung it is compared with; None at the start of a ladder.
        samples_of: Rung whose number of processed photographs this one may process too; its own
            number of steps follows from it.
        teacher: Rung whose model is the teacher of this one's stage C.
    """

    name: str
    title: str
    description: str
    steps: tuple[Step, ...] = WHOLE_CHAIN
    overrides: Mapping[str, Any] = field(default_factory=dict)
    first: Step = Step.TEXT_ONLY
    view: View = View.WHOLE
    against: str | None = None
    samples_of: str | None = None
    teacher: str | None = None


@dataclass(frozen=True)
class Ladder:
    """Rungs that answer one question.

    Attributes:
        name: As typed on the command line.
        question: What it answers.
        ascending: Whether each rung is meant to stand at or above the one it is compared with.
        build: The rungs, given the settings that they change. The first one is always the tuned
            text-only tower, the baseline of every claim.
    """

    name: str
    question: str
    ascending: bool
    build: Callable[[RunSettings], Sequence[Rung]]


def overridden(settings: RunSettings, overrides: Mapping[str, Any]) -> RunSettings:
    """The settings with some of them replaced.

    Args:
        settings: What to start from.
        overrides: Dotted path, such as `fusion.loop.steps`, to value.

    Raises:
        ConfigError: There is no such setting, or the value is out of range.
    """
    values = settings.model_dump()
    for path, value in overrides.items():
        *parents, name = path.split(".")
        place: Any = values
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or name not in place:
            raise ConfigError(f"There is no setting {path!r}. See `mmr/config/run.py` for all.")
        place[name] = value
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def step_settings(rung: Rung, step: Step, settings: RunSettings) -> StageSettings:
    """All that decides one step of a rung.

    A step before `rung.first` has the preset's settings, and the text-only towers never those of
    the vision network, which they do not have: so rungs share what they can.

    Raises:
        ConfigError: An override names no setting or is out of range.
    """
    order = list(Step)
    reached = {
        path: value
        for path, value in rung.overrides.items()
        if order.index(step) >= order.index(rung.first)
        and not (step is Step.TEXT_ONLY and path.startswith("model.vision."))
    }
    changed = overridden(settings, reached)
    stages: dict[Step, StageSettings] = {
        Step.TEXT_ONLY: changed.text_only_stage,
        Step.VISION: changed.vision_stage,
        Step.ALIGN: changed.align_stage,
        Step.FUSION: changed.fusion_stage,
        Step.END_TO_END: changed.end_to_end_stage,
    }
    return stages[step]


def chosen_rungs(ladder: Ladder, settings: RunSettings, only: Sequence[str]) -> list[Rung]:
    """The rungs to measure: all, or those named with what they are compared with.

    The tuned text-only tower is always among them.

    Raises:
        ConfigError: A name is none of the ladder's.
    """
    rungs = {rung.name: rung for rung in ladder.build(settings)}
    unknown = [name for name in only if name not in rungs]
    if unknown:
        raise ConfigError(
            f"The ladder {ladder.name} has no rung {unknown[0]!r}, only {', '.join(rungs)}."
        )
    if not only:
        return list(rungs.values())
    wanted = {next(iter(rungs)), *only}
    for name in only:
        needed = (rungs[name].against, rungs[name].samples_of, rungs[name].teacher)
        wanted |= {other for other in needed if other is not None}
    return [rung for rung in rungs.values() if rung.name in wanted]
