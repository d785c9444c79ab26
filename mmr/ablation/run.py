"""Trains, measures and compares the rungs of a ladder; goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.ablation.chains import ChainTrainer, Link, Trained, chain_of
from mmr.ablation.ladders import find_ladder
from mmr.ablation.measuring import measure
from mmr.ablation.pooling import MeasuredRung
from mmr.ablation.preset_age import training_settings_hash
from mmr.ablation.record import LadderContext, results_name, results_record, write_results
from mmr.ablation.rungs import Ladder, Rung, chosen_rungs
from mmr.ablation.source import prepared_dataset
from mmr.ablation.timing import RestTime
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.errors import ConfigError
from mmr.evaluation.slices import slice_queries
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.validation_task import catalogue_facts, validation_task
from mmr.workspace import Workspace

MEASURE = "measure"


@dataclass(frozen=True)
class LadderRequest:
    """What the user asked for.

    Attributes:
        source: Prepared dataset, dataset, feed, or `showroom:...`.
        ladder: Name of the ladder.
        settings: The preset; its seed is the first one.
        preset: Its name, for the record.
        seeds: How many seeds, one after the other.
        only: Names of the rungs to measure; empty for all.
        workspace: Holds caches and results.
    """

    source: str
    ladder: str
    settings: RunSettings
    preset: str
    seeds: int
    only: tuple[str, ...]
    workspace: Path


@dataclass(frozen=True)
class PlannedRung:
    """What a rung needs.

    Attributes:
        rung: The rung.
        own: Steps that no rung before it has trained.
        shared: Steps that it has in common with one before it.
    """

    rung: Rung
    own: list[str]
    shared: list[str]


def plan_ladder(ladder: str, settings: RunSettings, only: Sequence[str] = ()) -> list[PlannedRung]:
    """What would be trained for one seed, without training anything.

    Raises:
        ConfigError: There is no such ladder or rung, or an override does not fit the settings.
    """
    found = find_ladder(ladder)
    everything = {rung.name: rung for rung in found.build(settings)}
    seen: set[str] = set()
    planned = []
    for rung in chosen_rungs(found, settings, only):
        own: list[str] = []
        shared: list[str] = []
        for link in _due(chain_of(rung, everything, settings, settings.seed)):
            (shared if link.key in seen else own).append(link.step.value)
            seen.add(link.key)
        planned.append(PlannedRung(rung, own, shared))
    return planned


def run_ladder(
    request: LadderRequest, *, show: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Trains and measures a ladder; everything that was done before is reused.

    Args:
        request: What to do.
        show: Called with a line whenever a stage begins or a rung has been measured.

    Returns:
        The directory of the results, and what its `results.json` holds.

    Raises:
        ConfigError: Ladder, rung or number of seeds is wrong.
        DataContractError: The data cannot be read, or has no judged validation query.
        ArtifactError: Another run works in the workspace.
    """
    if request.seeds < 1:
        raise ConfigError(f"--seeds is {request.seeds}, but at least 1 is needed.")
    ladder = find_ladder(request.ladder)
    rungs = chosen_rungs(ladder, request.settings, request.only)
    workspace = Workspace.open(request.workspace, create=True)
    with workspace.only_run():
        path = prepared_dataset(
            request.source, settings=request.settings.prepare, cache=workspace.cache
        )
        context = _context(request, ladder, Dataset(path))
        measured = _Climb(request, context, rungs, path, workspace.cache, show).measured()
        record = results_record(context, measured)
        name = results_name(ladder.name, context.dataset.manifest.name)
        out = workspace.path / "ablations" / (f"{name}-partial" if context.partial else name)
        write_results(out, record, measured, context.task)
    return out, record


def _context(request: LadderRequest, ladder: Ladder, dataset: Dataset) -> LadderContext:
    config = request.settings.gate
    task = validation_task(dataset)
    slices = slice_queries(
        task.queries,
        judgements=task.judgements,
        products=catalogue_facts(dataset),
        sparse_text_share=config.sparse_text_share,
    )
    first = request.settings.seed
    return LadderContext(
        ladder=ladder,
        dataset=dataset,
        task=task,
        slices=slices,
        config=config,
        preset=request.preset,
        settings_hash=training_settings_hash(request.settings),
        seeds=list(range(first, first + request.seeds)),
        partial=bool(request.only),
    )


class _Climb:
    """One pass over seeds and rungs, telling on the way what it does and what is left."""

    def __init__(
        self,
        request: LadderRequest,
        context: LadderContext,
        rungs: Sequence[Rung],
        dataset: Path,
        cache: Path,
        show: Callable[[str], None],
    ) -> None:
        self._context, self._rungs, self._show, self._cache = context, rungs, show, cache
        every = {rung.name: rung for rung in context.ladder.build(request.settings)}
        self._chains = {
            (seed, rung.name): chain_of(rung, every, request.settings, seed)
            for seed in context.seeds
            for rung in rungs
        }
        self._rung, self._place, self._begin = "", 0, 0.0
        self._trainer = ChainTrainer(dataset, cache=cache, before=self._before, after=self._after)
        links = {link.key: link for chain in self._chains.values() for link in _due(chain)}
        self._kept = {key for key, link in links.items() if self._trainer.trained_before(link)}
        self._rest = RestTime(
            [link.step.value for key, link in links.items() if key not in self._kept]
            + [MEASURE] * len(self._chains),
            kept=[links[key].step.value for key in self._kept],
        )

    def measured(self) -> list[MeasuredRung]:
        """Climbs once a seed, so that a whole ladder stands after the first one."""
        frames: dict[str, dict[int, pd.DataFrame]] = {rung.name: {} for rung in self._rungs}
        training: dict[str, list[dict[str, Any]]] = {rung.name: [] for rung in self._rungs}
        for seed in self._context.seeds:
            for rung in self._rungs:
                self._rung, self._place = rung.name, self._place + 1
                chain = self._chains[seed, rung.name]
                trained = self._trainer.train(chain)
                frames[rung.name][seed] = self._measure(rung, seed, trained[-1])
                training[rung.name].append(_training_record(seed, chain, trained))
        return [MeasuredRung(r, frames[r.name], training[r.name]) for r in self._rungs]

    def _measure(self, rung: Rung, seed: int, trained: Trained) -> pd.DataFrame:
        begin = time.monotonic()
        frame = measure(
            trained.model,
            self._context.dataset,
            self._context.task,
            view=rung.view,
            cache=self._cache,
        )
        self._rest.done(MEASURE, time.monotonic() - begin)
        self._show(
            f"{self._where()} {rung.title}, seed {seed}: "
            f"NDCG@10 {frame['ndcg_at_10'].mean():.4f}, "
            f"Recall@100 {frame['recall_at_100'].mean():.4f}; {self._rest.text()}"
        )
        return frame

    def _before(self, link: Link) -> None:
        self._begin = time.monotonic()
        self._show(
            f"{self._where()} {self._rung}, seed {link.seed}: {link.step.value}; "
            f"{self._rest.text()}"
        )

    def _after(self, link: Link, trained: Trained) -> None:
        reused = trained.report.reused
        self._rest.done(
            link.step.value,
            trained.seconds if reused else time.monotonic() - self._begin,
            kept=link.key in self._kept,
            reused=reused,
        )

    def _where(self) -> str:
        return f"[{self._place}/{len(self._chains)}]"


def _due(chain: Sequence[Link]) -> Iterator[Link]:
    """The links of a chain and those that they need, in the order of their training."""
    for link in chain:
        yield from _due(link.samples_of)
        yield from _due(link.teacher)
        yield link


def _training_record(
    seed: int, chain: Sequence[Link], trained: Sequence[Trained]
) -> dict[str, Any]:
    return {
        "seed": seed,
        "fingerprint": encoder_fingerprint(trained[-1].model),
        "stages": [
            {
                "stage": link.step.value,
                "steps": done.report.steps,
                "best_step": done.report.best_step,
                "kept": done.report.adoption is None or done.report.adoption.adopted,
                "seconds": round(done.seconds, 1),
                "image_samples": done.samples,
            }
            for link, done in zip(chain, trained, strict=True)
        ],
    }
