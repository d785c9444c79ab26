"""Stages may have to prove that they help: one that does not is left out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from mmr.config.model import ONE_MODALITY, FusionKind
from mmr.config.training import (
    AlignStageSettings,
    FusionStage,
    FusionStageSettings,
    VisionStageSettings,
)
from mmr.models.retriever import Retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.fusion_training import fusion_run, train_from
from mmr.stages.stage_report import Adoption, StageReport
from mmr.stages.training_run import FLOOR, RECORD, StageRun, hand_over
from mmr.training.figures import Figures
from mmr.training.loop import FitResult

Towers = TypeVar("Towers", VisionStageSettings, AlignStageSettings)
Proven = TypeVar("Proven", VisionStageSettings, AlignStageSettings, FusionStageSettings)


def complete_if_better(
    run: StageRun,
    settings: Towers,
    out: Path,
    train: Callable[[StageRun, Towers], tuple[Retriever, Mapping[str, FitResult]]],
) -> StageReport:
    """Completes a stage that may have to prove itself, and keeps its start if it does not help.

    A stage measures itself by the mean of text and image, to which all counts that an image tower
    learns. A fusion that learns what to trust may do without it, and suffers where photographs were
    learnt by heart. So with a probe in the settings a concatenation learns from the towers before
    the stage and from those after it, and the better towers become the result; the record of the
    training stays, with the figures of both. The second may be nowhere below the first, and that
    nowhere below what the towers before were held against, in the beginning the text alone.

    Args:
        run: The stage with its inputs.
        settings: Its settings.
        out: The model directory to write.
        train: Trains a run of the stage by some settings of it.

    Source: ours; measured in docs/experiments.md.
    """
    begin = time.monotonic()
    start, end = _untrained(_unproven(settings)), _unproven(settings)
    if settings.probe is None or not settings.stage.loop.steps:
        alone = replace(run, settings=end)
        return alone.complete(out, partial(train, alone, end))
    before, after = replace(run, settings=start), replace(run, settings=end)
    reused = after.ensure(partial(train, after, end))
    before.ensure(partial(train, before, start))
    floor = _floor(run.parent)
    without: Figures = _concatenation(before.kept, before, settings.probe, floor=floor)
    if encoder_fingerprint(after.kept) != encoder_fingerprint(before.kept):
        floor = without
    having: Figures = _concatenation(after.kept, after, settings.probe, floor=floor)
    found = Adoption(before=without, after=having)
    record = after.record()
    record["adoptions"] |= {run.stage: asdict(found)}
    if found.adopted:
        record[FLOOR] = floor.named()
    else:  # what is kept is step 0 of the training that the record tells of
        names = ("best_step", *without.named("validation_"))
        record |= {name: before.record()[name] for name in names}
    hand_over((after if found.adopted else before).kept, out, record=record)
    return StageReport.of(record, seconds=time.monotonic() - begin, reused=reused)


def complete_fusion_if_better(
    run: StageRun, aligned: Path, settings: FusionStageSettings, out: Path
) -> StageReport:
    """Completes stage C, and takes a concatenation where the fusion network does not answer better.

    Neither may be below what it is held against: the network the concatenation, the concatenation
    what the record of the towers says.

    Args:
        run: The stage with its inputs.
        aligned: The towers that it starts from.
        settings: Its settings.
        out: The model directory to write.

    Source: ours; measured in docs/experiments.md.
    """
    begin = time.monotonic()
    network, floor = _unproven(settings), _floor(aligned)
    if settings.probe is None or settings.stage.kind in (FusionKind.CONCAT, *ONE_MODALITY):
        floored = settings.probe is not None and settings.stage.kind is FusionKind.CONCAT
        alone = replace(run, settings=network, floor=floor if floored else None)
        return alone.complete(out, partial(train_from, aligned, alone, network))
    plain = _concatenation(aligned, run, settings.probe, floor=floor)
    kept = replace(run, settings=network, floor=plain)
    reused = kept.ensure(partial(train_from, aligned, kept, network))
    found = Adoption(before=plain, after=Figures.of(kept.record(), "validation_"))
    if not found.adopted:
        concatenation = {"kind": FusionKind.CONCAT, "text_answers": settings.probe.text_answers}
        stage = network.stage.model_copy(update=concatenation)
        settings = network.model_copy(update={"stage": stage})
        kept = replace(run, settings=settings, floor=floor)
        kept.ensure(partial(train_from, aligned, kept, settings))
    record = kept.record()
    record["adoptions"] |= {run.stage: asdict(found)}
    hand_over(kept.kept, out, record=record)
    return StageReport.of(record, seconds=time.monotonic() - begin, reused=reused)


def _unproven(settings: Proven) -> Proven:
    """The same stage without a proof: what is kept of it serves whoever trains the same."""
    stage = settings.stage.model_copy(update={"only_if_better": False})
    return settings.model_copy(update={"probe": None, "stage": stage})


def _untrained(settings: Towers) -> Towers:
    loop = settings.stage.loop.model_copy(update={"steps": 0})
    return settings.model_copy(update={"stage": settings.stage.model_copy(update={"loop": loop})})


def _floor(towers: Path | None) -> Figures:
    """What a fusion of some towers may not be below: the text alone, or the best fusion so far."""
    record = towers and json.loads((towers / RECORD).read_text(encoding="utf-8")).get(FLOOR)
    return Figures.of(record) if record else Figures(0.0, 0.0, 0.0)


def _concatenation(towers: Path, run: StageRun, probe: FusionStage, *, floor: Figures) -> Figures:
    """Figures of the validation queries with a concatenation that learns from some towers."""
    settings = FusionStageSettings(
        model=run.settings.model, loss=run.settings.loss, seed=run.settings.seed, stage=probe
    )
    fusion = fusion_run(run.dataset, towers, settings, cache=run.cache, floor=floor)
    fusion.ensure(partial(train_from, towers, fusion, settings))
    return Figures.of(fusion.record(), "validation_")
