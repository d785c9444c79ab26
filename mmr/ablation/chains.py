"""Trains the chain of stages behind a rung; chains share every stage that they have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr import stages
from mmr.ablation.budget import image_samples
from mmr.ablation.rungs import Rung, Step, step_settings
from mmr.config.run import RunSettings
from mmr.config.training import EndToEndStageSettings, FusionStageSettings, StageSettings
from mmr.data.dataset import Dataset
from mmr.hashing import sha256_json
from mmr.stages.stage_report import StageReport


@dataclass(frozen=True)
class Link:
    """One stage of a chain, identified by everything planned before it.

    Attributes:
        rung: The rung it was first met in, for people.
        seed: Its seed.
        step: Which stage.
        settings: All that decides it beside parent and dataset.
        parent: The link before it; None at the start.
        samples_of: Links whose photographs it may process as well; empty without such a budget.
        teacher: Links that train its teacher; empty without one.
    """

    rung: str
    seed: int
    step: Step
    settings: StageSettings
    parent: Link | None
    samples_of: tuple[Link, ...] = ()
    teacher: tuple[Link, ...] = ()

    @property
    def key(self) -> str:
        """Equal for links that train the same thing."""
        return sha256_json(
            [
                self.step,
                self.settings.model_dump(mode="json"),
                self.parent.key if self.parent else None,
                [link.key for link in self.samples_of],
                [link.key for link in self.teacher],
            ]
        )[:32]


def chain_of(
    rung: Rung, rungs: Mapping[str, Rung], settings: RunSettings, seed: int
) -> tuple[Link, ...]:
    """The stages of a rung, in order.

    Args:
        rung: The rung.
        rungs: All of its ladder, by name.
        settings: The preset.
        seed: Replaces the preset's.
    """
    seeded = settings.model_copy(update={"seed": seed})
    links: list[Link] = []
    for step in rung.steps:
        budget = rung.samples_of if step is Step.END_TO_END else None
        teacher = rung.teacher if step is Step.FUSION else None
        links.append(
            Link(
                rung=rung.name,
                seed=seed,
                step=step,
                settings=step_settings(rung, step, seeded),
                parent=links[-1] if links else None,
                samples_of=chain_of(rungs[budget], rungs, settings, seed) if budget else (),
                teacher=chain_of(rungs[teacher], rungs, settings, seed) if teacher else (),
            )
        )
    return tuple(links)


def due(chain: Sequence[Link]) -> Iterator[Link]:
    """The links of a chain and those that they need, in the order of their training."""
    for link in chain:
        yield from due(link.samples_of)
        yield from due(link.teacher)
        yield link


@dataclass(frozen=True)
class Trained:
    """A link after its training.

    Attributes:
        model: The model directory.
        report: How the stage ended.
        seconds: How long its training took when it was trained, now or earlier.
        samples: Photographs it processed, augmented or not.
    """

    model: Path
    report: StageReport
    seconds: float
    samples: int


class ChainTrainer:
    """Trains links, each at most once.

    Args:
        dataset: A prepared dataset.
        cache: The workspace's cache; models lie there by content.
        before: Called with a link that is about to be trained or taken from the cache.
        after: Called with the link and its outcome.
    """

    def __init__(
        self,
        dataset: Path,
        *,
        cache: Path,
        before: Callable[[Link], None],
        after: Callable[[Link, Trained], None],
    ) -> None:
        self._dataset, self._cache = dataset, cache
        self._before, self._after = before, after
        self._done: dict[str, Trained] = {}

    def train(self, chain: Sequence[Link]) -> list[Trained]:
        """Trains a whole chain; the last one's model is the rung's."""
        return [self._link(link) for link in chain]

    def trained_before(self, link: Link) -> bool:
        """Whether an earlier run trained it, by whatever code: then it is most likely reused."""
        return (self._place(link) / "training.json").is_file()

    def _link(self, link: Link) -> Trained:
        if link.key not in self._done:
            self.train(link.samples_of)
            self.train(link.teacher)
            self._before(link)
            trained = self._trained(link)
            self._done[link.key] = trained
            self._after(link, trained)
        return self._done[link.key]

    def _trained(self, link: Link) -> Trained:
        out = self._place(link)
        settings = self._settings(link)
        report = self._run_stage(link, settings, out)
        return Trained(
            model=out,
            report=report,
            seconds=_training_seconds(out, report),
            samples=image_samples(self._dataset, settings, steps=report.steps),
        )

    def _place(self, link: Link) -> Path:
        dataset_hash = Dataset(self._dataset).manifest.content_hash
        return self._cache / "ablation-models" / f"{link.key[:24]}-{dataset_hash[:12]}"

    def _run_stage(self, link: Link, settings: StageSettings, out: Path) -> StageReport:
        common: dict[str, Any] = {
            "dataset": self._dataset,
            "out": out,
            "settings": settings,
            "cache": self._cache,
        }
        if link.step is Step.TEXT_ONLY:
            return stages.train_text_only(**common)
        if link.step is Step.END_TO_END or link.parent is None:
            return stages.train_end_to_end(**common)
        start = self._link(link.parent).model
        if link.step is Step.VISION:
            return stages.finetune_vision(text_only=start, **common)
        if link.step is Step.ALIGN:
            return stages.align_queries(vision=start, **common)
        return stages.train_fusion(aligned=start, **common)

    def _settings(self, link: Link) -> StageSettings:
        """A link's settings, with what only trained models can tell: steps and teacher."""
        settings = link.settings
        if link.samples_of and isinstance(settings, EndToEndStageSettings):
            return self._budgeted(settings, link.samples_of)
        if link.teacher and isinstance(settings, FusionStageSettings):
            return self._taught(settings, self._link(link.teacher[-1]).model)
        return settings

    def _budgeted(
        self, settings: EndToEndStageSettings, samples_of: Sequence[Link]
    ) -> EndToEndStageSettings:
        """Gives training end to end as many steps as make up the budget's photographs."""
        budget = sum(self._link(other).samples for other in samples_of)
        a_step = image_samples(self._dataset, settings, steps=1)
        steps = max(1, round(budget / a_step))
        loop = settings.stage.loop.model_copy(update={"steps": steps, "patience": steps})
        stage = settings.stage.model_copy(update={"loop": loop})
        return settings.model_copy(update={"stage": stage})

    @staticmethod
    def _taught(settings: FusionStageSettings, teacher: Path) -> FusionStageSettings:
        techniques = settings.stage.techniques
        distillation = techniques.distillation.model_copy(update={"teacher": str(teacher)})
        techniques = techniques.model_copy(update={"distillation": distillation})
        stage = settings.stage.model_copy(update={"techniques": techniques})
        return settings.model_copy(update={"stage": stage})


def _training_seconds(model: Path, report: StageReport) -> float:
    """Seconds of the loops as the model's own history has them: the same when it is reused."""
    record = json.loads((model / "training.json").read_text(encoding="utf-8"))
    parts: dict[str, float] = {}  # seconds run on within a part of a stage
    for entry in record["history"]:
        if entry["stage"].split(".")[0] == report.stage:
            parts[entry["stage"]] = float(entry["seconds"])
    return sum(parts.values())
