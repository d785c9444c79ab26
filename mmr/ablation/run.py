"""Trains, measures and compares the rungs of a ladder; goes on where it was killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr.ablation.chains import chain_of, due
from mmr.ablation.climb import Climb, LadderRequest, ladder_context
from mmr.ablation.ladders import find_ladder
from mmr.ablation.record import results_name, results_record, write_results
from mmr.ablation.rungs import Rung, chosen_rungs
from mmr.ablation.side_by_side import climb_side_by_side
from mmr.ablation.source import prepared_dataset
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.errors import ConfigError
from mmr.workspace import Workspace


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
        for link in due(chain_of(rung, everything, settings, settings.seed)):
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
        ConfigError: Ladder, rung, number of seeds or of jobs is wrong.
        DataContractError: The data cannot be read, or has no judged validation query.
        ArtifactError: Another run works in the workspace, or a process of a seed was killed.
    """
    for option, number in (("--seeds", request.seeds), ("--jobs", request.jobs)):
        if number < 1:
            raise ConfigError(f"{option} is {number}, but at least 1 is needed.")
    ladder = find_ladder(request.ladder)
    chosen_rungs(ladder, request.settings, request.only)  # a wrong name, before any work
    workspace = Workspace.open(request.workspace, create=True)
    with workspace.only_run():
        path = prepared_dataset(
            request.source, settings=request.settings.prepare, cache=workspace.cache
        )
        context = ladder_context(request, Dataset(path))
        if request.jobs > 1 and request.seeds > 1:
            seeds = list(context.seeds)
            climb_side_by_side(request, path, cache=workspace.cache, seeds=seeds, show=show)
            show("all seeds climbed; now they are compared")
            show = _silent  # each seed has told what it did
        measured = Climb(request, context, path, workspace.cache, show).measured()
        record = results_record(context, measured)
        name = results_name(ladder.name, context.dataset.manifest.name)
        out = workspace.path / "ablations" / (f"{name}-partial" if context.partial else name)
        write_results(out, record, measured, context.task)
    return out, record


def _silent(line: str) -> None:
    """Shows nothing."""
