"""Stages may have to prove that they help: one that does not is left out."""

from __future__ import annotations

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
from mmr.stages.fusion_training import fusion_run, train_from
from mmr.stages.stage_report import Adoption, StageReport
from mmr.stages.training_run import StageRun, hand_over
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
    training stays, with both figures.

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
    found = Adoption(
        before=_concatenation(before.kept, before, settings.probe),
        after=_concatenation(after.kept, after, settings.probe),
    )
    record = after.record()
    record["adoptions"] |= {run.stage: asdict(found)}
    if not found.adopted:  # what is kept is step 0 of the training that the record tells of
        record |= {name: before.record()[name] for name in ("best_step", "validation_ndcg_at_10")}
    hand_over((after if found.adopted else before).kept, out, record=record)
    return StageReport.of(record, seconds=time.monotonic() - begin, reused=reused)


def complete_fusion_if_better(
    run: StageRun, aligned: Path, settings: FusionStageSettings, out: Path
) -> StageReport:
    """Completes stage C, and takes a concatenation where the fusion network does not answer better.

    Args:
        run: The stage with its inputs.
        aligned: The towers that it starts from.
        settings: Its settings.
        out: The model directory to write.

    Source: ours; measured in docs/experiments.md.
    """
    begin = time.monotonic()
    network = _unproven(settings)
    with_network = replace(run, settings=network)
    if settings.probe is None or settings.stage.kind in (FusionKind.CONCAT, *ONE_MODALITY):
        return with_network.complete(out, partial(train_from, aligned, with_network, network))
    reused = with_network.ensure(partial(train_from, aligned, with_network, network))
    record = with_network.record()
    found = Adoption(
        before=_concatenation(aligned, run, settings.probe),
        after=float(record["validation_ndcg_at_10"]),
    )
    kept = with_network
    if not found.adopted:
        concatenation = {"kind": FusionKind.CONCAT, "text_answers": settings.probe.text_answers}
        plain = network.model_copy(update={"stage": network.stage.model_copy(update=concatenation)})
        kept = replace(run, settings=plain)
        kept.ensure(partial(train_from, aligned, kept, plain))
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


def _concatenation(towers: Path, run: StageRun, probe: FusionStage) -> float:
    """NDCG@10 of the validation queries with a concatenation that learns from some towers."""
    settings = FusionStageSettings(
        model=run.settings.model, loss=run.settings.loss, seed=run.settings.seed, stage=probe
    )
    fusion = fusion_run(run.dataset, towers, settings, cache=run.cache)
    fusion.ensure(partial(train_from, towers, fusion, settings))
    return float(fusion.record()["validation_ndcg_at_10"])
