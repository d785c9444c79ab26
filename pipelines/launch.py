"""`mmr run`: one run of the retrain pipeline on this machine, from checks to summary."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mmr.atomic import write_json
from mmr.config.run import RunSettings, load_gate_policy, load_settings
from mmr.stages import find_champion
from mmr.tracking import open_tracking
from mmr.tracking.connection import check_recordable
from mmr.workspace import Workspace
from pipelines.compilation import compile_ir
from pipelines.earlier_runs import last_duration, previous_dataset
from pipelines.local import LocalRun, run_locally
from pipelines.one_run import new_console, new_run_directory
from pipelines.retrain import retrain
from pipelines.show import show_summary
from pipelines.submission import Source, read_source, retrain_arguments
from pipelines.summary import RunSummary, summarise
from serving.settings import ServeSettings
from serving.triton_venv import TritonVenv


@dataclass(frozen=True)
class RunRequest:
    """What the user asked for.

    Attributes:
        source: Dataset, feed or `showroom:...`.
        preset: Name of a preset, or a YAML file.
        workspace: The workspace's directory.
        deploy: Whether a promoted release goes to Triton.
        searches: Queries to show at the end; empty for the dataset's own.
        seed: Replaces the settings' seed.
        gate: Policy file that replaces the settings' gate.
        tracking_uri: MLflow; None for SQLite inside the workspace.
        port_base: Triton's HTTP port, if a server has to be started; gRPC and metrics follow.
    """

    source: str
    preset: str
    workspace: Path
    deploy: bool = True
    searches: tuple[str, ...] = ()
    seed: int | None = None
    gate: Path | None = None
    tracking_uri: str | None = None
    port_base: int = 8000


def launch(request: RunRequest) -> RunSummary:
    """Runs the pipeline, prints lines as it goes and the summary at the end.

    Raises:
        MmrError: The request is wrong, or a step failed; the message says what to do.
    """
    begin = time.monotonic()
    console = new_console()
    settings = _settings(request)
    source = read_source(request.source)
    if request.deploy:
        TritonVenv.locate()  # its absence should be told now, not after the training
    check_recordable(request.tracking_uri or "")
    workspace = Workspace.open(request.workspace, create=True)
    with workspace.only_run():
        tracking_uri = request.tracking_uri or workspace.tracking_uri
        registry = open_tracking(tracking_uri, audit_file=workspace.audit_file)
        champion = find_champion(  # one that is gone should be told now, not after the training
            releases=workspace.releases, registry=registry, required=False
        )
        console.print(
            f"Running [bold]retrain[/] on {source.name} ({request.preset}) in {workspace.path}; "
            f"champion: {champion.release_id}. {_how_long(workspace)}"
        )
        directory = new_run_directory(workspace)
        run = _retrained(request, source, settings, workspace, directory, console)
        summary = summarise(
            run,
            source=source,
            workspace=workspace,
            tracking_uri=tracking_uri,
            searches=request.searches,
            seconds=round(time.monotonic() - begin, 1),
        )
        write_json(directory / "summary.json", summary.model_dump(mode="json"))
    show_summary(summary, console)
    return summary


def _retrained(
    request: RunRequest,
    source: Source,
    settings: RunSettings,
    workspace: Workspace,
    directory: Path,
    console: Console,
) -> LocalRun:
    """Runs the pipeline, its own log going to `directory`."""
    return run_locally(
        compile_ir(retrain),
        retrain_arguments(
            source,
            settings=settings,
            workspace=workspace,
            tracking_uri=request.tracking_uri or workspace.tracking_uri,
            previous_dataset=previous_dataset(workspace, source.revision),
            serve=ServeSettings.from_port_base(request.port_base),
            deploy=request.deploy,
        ),
        workspace=workspace,
        log=directory / "pipeline.log",
        show=lambda line: console.print(line, markup=False),
    )


def _how_long(workspace: Workspace) -> str:
    seconds = last_duration(workspace)
    if seconds is None:
        return "The four trainings take most of the time; each says how far it is."
    return f"The last run here that trained took {round(seconds / 60) or 1} min."


def _settings(request: RunRequest) -> RunSettings:
    replaced: dict[str, object] = {}
    if request.seed is not None:
        replaced["seed"] = request.seed
    if request.gate is not None:
        replaced["gate"] = load_gate_policy(request.gate)
    return load_settings(request.preset).model_copy(update=replaced)
