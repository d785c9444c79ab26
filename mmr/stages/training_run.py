"""What every training stage does around its loop: reuse, resume, store."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

import mmr.config
import mmr.models
import mmr.training
from mmr.atomic import new_directory, write_json
from mmr.config.training import LoopSettings, StageSettings
from mmr.data import expansion, framing
from mmr.data.dataset import Dataset
from mmr.hashing import files_below, sha256_file, sha256_json
from mmr.memory import return_freed_memory
from mmr.models.retriever import Retriever
from mmr.models.storage import save_retriever
from mmr.models.text import TextEncoder
from mmr.models.vision import ImageEncoder
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.stage_report import StageReport
from mmr.training.figures import Figures
from mmr.training.loop import FitResult, Objective, fit
from mmr.training.processes import is_main, wait_for_all

RECORD = "training.json"  # in a model directory: what its training saw and how it ended
FLOOR = "floor"  # in it: what a fusion of the towers that has to prove itself may not be below

Train = Callable[[], tuple[Retriever, Mapping[str, FitResult]]]


@dataclass(frozen=True)
class StageRun:
    """One training stage with its inputs, identified by content.

    Attributes:
        stage: Its name.
        dataset: The dataset.
        parent: Model directory it starts from, if any.
        settings: All that decides the result beside dataset and parent.
        cache: Directory of content-addressed results.
        teacher: Identity of the teacher it learns from, if any.
        floor: What its best step should not be below, if anything.
    """

    stage: str
    dataset: Dataset
    parent: Path | None
    settings: StageSettings
    cache: Path
    teacher: str | None = None
    floor: Figures | None = None

    @property
    def key(self) -> str:
        """Identity of the result: stage, settings, dataset, parent, and the code that trains."""
        return sha256_json(
            [
                self.stage,
                self.settings.model_dump(mode="json"),
                self.dataset.manifest.content_hash,
                encoder_fingerprint(self.parent) if self.parent else None,
                self.teacher,
                self.floor.named() if self.floor else None,
                _code_hash(),
            ]
        )[:32]

    @property
    def kept(self) -> Path:
        """The model directory among the content-addressed results; whole if it is there."""
        return self.cache / "models" / self.key

    @property
    def checkpoint(self) -> Path:
        """Where a killed run of this very stage left off."""
        return self.cache / "checkpoints" / f"{self.key}.pt"

    def part(self, name: str) -> StageRun:
        """A further loop of this stage, with a checkpoint and a history of its own; no floor."""
        return replace(self, stage=f"{self.stage}.{name}", floor=None)

    def complete(self, out: Path, train: Train) -> StageReport:
        """Trains unless the same result is kept already; `out` becomes the model directory.

        Of several processes that train as one, the main process alone writes.

        Args:
            out: The directory to write.
            train: The trained retriever, and how each loop ended, by the stage of its run.
        """
        start = time.monotonic()
        reused = self.ensure(train)
        record = self.record()
        hand_over(self.kept, out, record=record)
        return StageReport.of(record, seconds=time.monotonic() - start, reused=reused)

    def ensure(self, train: Train) -> bool:
        """Trains unless the same result is kept already; says whether it was."""
        reused = self.kept.is_dir()
        if not reused:
            self._keep(*train())
            wait_for_all()
            return_freed_memory()
        return reused

    def record(self) -> dict[str, Any]:
        """What is known of the result's training, after all that is known of its parent's.

        The result itself holds its own part alone: the same towers may come about in many ways.
        """
        record: dict[str, Any] = json.loads((self.kept / RECORD).read_text(encoding="utf-8"))
        if self.parent is not None:
            parent = json.loads((self.parent / RECORD).read_text(encoding="utf-8"))
            record["history"] = parent["history"] + record["history"]
            record["adoptions"] = parent.get("adoptions", {}) | record["adoptions"]
            record[FLOOR] = parent.get(FLOOR)
        return record

    def _keep(self, retriever: Retriever, results: Mapping[str, FitResult]) -> None:
        """Stores what was trained; the main process alone does."""
        if not is_main():
            return
        with new_directory(self.kept) as scratch:
            save_retriever(retriever, scratch, training=self._training(results))
        for stage in results:
            replace(self, stage=stage).checkpoint.unlink(missing_ok=True)

    def _training(self, results: Mapping[str, FitResult]) -> dict[str, Any]:
        result = results[self.stage]
        return {
            "stage": self.stage,
            "steps": result.steps,
            "best_step": result.best_step,
            **result.best.named("validation_"),
            "data_wait_share": result.data_wait_share,
            "settings": self.settings.model_dump(mode="json"),
            "dataset": self.dataset.manifest.content_hash,
            "parent": encoder_fingerprint(self.parent) if self.parent else None,
            "adoptions": {},
            "parts": {
                stage: part.best_step for stage, part in results.items() if stage != self.stage
            },
            FLOOR: None if self.parent else result.best.named(),
            "history": [
                {"stage": stage, **entry}
                for stage, loop in results.items()
                for entry in loop.history
            ],
        }


def train_parts(
    retriever: Retriever,
    objective: Objective[Any],
    *,
    kept: nn.Module,
    parts: dict[nn.Module, float],
    validate: Callable[[], Figures],
    loop: LoopSettings,
    run: StageRun,
) -> FitResult:
    """Trains some parts of a retriever and leaves the rest frozen.

    Args:
        retriever: Changed in place.
        objective: What is minimised.
        kept: What the objective has of its own, such as the learnt scale.
        parts: Module to peak learning rate; at 0, and everything else, is frozen. Backbones join
            after `loop.unfreeze_after` of the steps.
        validate: Scores the present retriever.
        loop: Numbers of the loop.
        run: Names the checkpoint and gives the floor.
    """
    trained = nn.ModuleDict({"retriever": retriever, "objective": kept})
    trained.requires_grad_(False)
    groups: list[dict[str, Any]] = []
    for module, rate in parts.items():
        parameters = list(module.parameters())
        if rate > 0 and parameters:
            module.requires_grad_(True)
            groups.append({"params": parameters, "lr": rate})
    return fit(
        trained,
        objective,
        parameters=groups,
        validate=validate,
        settings=loop,
        seed=run.settings.seed,
        checkpoint=run.checkpoint,
        description=run.stage,
        late=[module for module in parts if isinstance(module, TextEncoder | ImageEncoder)],
        floor=run.floor,
    )


def hand_over(kept: Path, out: Path, *, record: Mapping[str, Any]) -> None:
    """Makes `out` the model directory that is kept among the results, whole or not at all.

    Args:
        kept: The result; its files are shared, not copied, where the file system can.
        out: The directory to write; only the main process does.
        record: What it shall say of its training.
    """
    if is_main():
        with new_directory(out, replace=True) as scratch:
            shutil.copytree(kept, scratch, copy_function=_link, dirs_exist_ok=True)
            write_json(scratch / RECORD, record)
    wait_for_all()


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
    return target


def _code_hash() -> str:
    """Hash of the code that decides a model: changed code must not meet old results."""
    files = [
        file
        for package in (mmr.config, mmr.models, mmr.training)
        for file in files_below(Path(str(package.__file__)).parent)
        if file.suffix == ".py"
    ]
    files += [Path(str(module.__file__)) for module in (expansion, framing)]
    return sha256_json([sha256_file(file) for file in files])
