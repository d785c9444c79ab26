"""One climb of a ladder: every rung of every seed trained or reused, and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.ablation.chains import ChainTrainer, Link, Trained, chain_of, due
from mmr.ablation.ladders import find_ladder
from mmr.ablation.measuring import measure
from mmr.ablation.pooling import MeasuredRung
from mmr.ablation.preset_age import training_settings_hash
from mmr.ablation.record import LadderContext
from mmr.ablation.rungs import Rung, chosen_rungs
from mmr.ablation.timing import RestTime
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.evaluation.slices import slice_queries
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.validation_task import catalogue_facts, validation_task

MEASURE = "measure"


@dataclass(frozen=True)
class LadderRequest:
    """What the user asked for.

    Attributes:
        source: Prepared dataset, dataset, feed, or `showroom:...`.
        ladder: Name of the ladder.
        settings: The preset; its seed is the first one.
        preset: Its name, for the record.
        seeds: How many seeds.
        only: Names of the rungs to measure; empty for all.
        workspace: Holds caches and results.
        jobs: How many seeds are climbed at once, each by a process of its own.
    """

    source: str
    ladder: str
    settings: RunSettings
    preset: str
    seeds: int
    only: tuple[str, ...]
    workspace: Path
    jobs: int = 1


def ladder_context(request: LadderRequest, dataset: Dataset) -> LadderContext:
    """What a ladder is measured on, as the request has it."""
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
        ladder=find_ladder(request.ladder),
        dataset=dataset,
        task=task,
        slices=slices,
        config=config,
        preset=request.preset,
        settings_hash=training_settings_hash(request.settings),
        seeds=list(range(first, first + request.seeds)),
        partial=bool(request.only),
    )


class Climb:
    """One pass over seeds and rungs, telling on the way what it does and what is left.

    Args:
        request: What was asked for.
        context: What the rungs are measured on; a climb of some seeds alone has these alone.
        path: The prepared dataset.
        cache: The workspace's cache.
        show: Called with a line whenever a stage begins or a rung has been measured.
    """

    def __init__(
        self,
        request: LadderRequest,
        context: LadderContext,
        path: Path,
        cache: Path,
        show: Callable[[str], None],
    ) -> None:
        self._context, self._show, self._cache = context, show, cache
        self._rungs = chosen_rungs(context.ladder, request.settings, request.only)
        every = {rung.name: rung for rung in context.ladder.build(request.settings)}
        self._chains = {
            (seed, rung.name): chain_of(rung, every, request.settings, seed)
            for seed in context.seeds
            for rung in self._rungs
        }
        self._rung, self._place, self._begin = "", 0, 0.0
        self._trainer = ChainTrainer(path, cache=cache, before=self._before, after=self._after)
        links = {link.key: link for chain in self._chains.values() for link in due(chain)}
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
                "share": done.report.share,
                "drawn_back": done.report.drawn_back,
                "seconds": round(done.seconds, 1),
                "image_samples": done.samples,
            }
            for link, done in zip(chain, trained, strict=True)
        ],
    }
