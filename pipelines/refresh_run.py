"""`mmr refresh`: one run of the refresh pipeline on this machine, from checks to summary."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from mmr.atomic import write_json
from mmr.config.refresh import RefreshConfig
from mmr.errors import MmrError
from mmr.stages.catalogue_changes import ChangeReport, read_report
from mmr.tracking.connection import check_recordable
from mmr.workspace import Workspace
from pipelines.compilation import compile_ir
from pipelines.local import LocalRun, run_locally
from pipelines.one_run import new_console, new_run_directory
from pipelines.refresh import refresh
from pipelines.submission import Source, read_source, refresh_arguments
from pipelines.summary import StepSummary
from serving.settings import ServeSettings
from serving.triton_venv import TritonVenv


class RefreshRefusedError(MmrError):
    """The refreshed catalogue lost something; the champion serves on."""


@dataclass(frozen=True)
class RefreshRequest:
    """What the user asked for.

    Attributes:
        source: Dataset or feed: the whole catalogue as it is now.
        workspace: The workspace's directory.
        settings: What may change.
        deploy: Whether the new release goes to Triton.
        tracking_uri: MLflow; None for SQLite inside the workspace.
        port_base: Triton's HTTP port, if a server has to be started; gRPC and metrics follow.
    """

    source: str
    workspace: Path
    settings: RefreshConfig
    deploy: bool = True
    tracking_uri: str | None = None
    port_base: int = 8000


class RefreshSummary(BaseModel):
    """What `mmr refresh` did; kept as `runs/<time>/refresh.json`.

    Attributes:
        finished_at: UTC, ISO.
        seconds: Wall-clock time of the whole refresh.
        source, source_revision: What it read, and the hash of its content.
        champion: The release that was refreshed.
        steps: In the pipeline's order.
        changes: Products new, changed, removed; vectors reused and embedded.
        decision: `unchanged`, `promote` or `reject`.
        refusal: The rules that do not hold, where it was rejected.
        gate: Directory of the evidence, where anything changed.
        release_id: The release that was built, if one was.
        deployed: Whether it serves now.
    """

    model_config = ConfigDict(frozen=True)

    finished_at: str
    seconds: float
    source: str
    source_revision: str
    champion: str
    steps: list[StepSummary]
    changes: ChangeReport
    decision: str
    refusal: str
    gate: Path | None
    release_id: str | None
    deployed: bool


def launch_refresh(request: RefreshRequest) -> RefreshSummary:
    """Runs the pipeline, prints lines as it goes and the summary at the end.

    Raises:
        RefreshRefusedError: The new catalogue lost something; nothing was registered.
        MmrError: The request is wrong, or a step failed; the message says what to do.
    """
    begin = time.monotonic()
    console = new_console()
    source = read_source(request.source, judged=False)
    if request.deploy:
        TritonVenv.locate()  # its absence should be told now
    check_recordable(request.tracking_uri or "")
    workspace = Workspace.open(request.workspace)
    with workspace.only_run():
        console.print(f"Running [bold]refresh[/] with {source.name} in {workspace.path}")
        directory = new_run_directory(workspace)
        run = run_locally(
            compile_ir(refresh),
            refresh_arguments(
                source,
                settings=request.settings,
                workspace=workspace,
                tracking_uri=request.tracking_uri or workspace.tracking_uri,
                serve=ServeSettings.from_port_base(request.port_base),
                deploy=request.deploy,
            ),
            workspace=workspace,
            log=directory / "pipeline.log",
            show=lambda line: console.print(line, markup=False),
        )
        summary = _summarise(run, source, seconds=round(time.monotonic() - begin, 1))
        write_json(directory / "refresh.json", summary.model_dump(mode="json"))
    _show(summary, request.workspace, console)
    if summary.refusal:
        raise RefreshRefusedError(
            f"The refresh was refused; release {summary.champion} serves on. {summary.refusal}. "
            f"The evidence is in {summary.gate}."
        )
    return summary


def _summarise(run: LocalRun, source: Source, *, seconds: float) -> RefreshSummary:
    reports = {step.name: step.report for step in run.steps}
    check = reports["check_refresh"]
    return RefreshSummary(
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        source=source.name,
        source_revision=source.revision,
        champion=reports["find_champion"]["release_id"],
        steps=[
            StepSummary(name=step.name, status=step.status, seconds=step.seconds)
            for step in run.steps
        ],
        changes=read_report(run.outputs["vectors"]),
        decision=check.get("decision", "unchanged"),
        refusal=check.get("refusal", ""),
        gate=check.get("gate"),
        release_id=reports["register_release"].get("release_id"),
        deployed="release_id" in reports["deploy_triton"],
    )


def _show(summary: RefreshSummary, workspace: Path, console: Console) -> None:
    changes = summary.changes
    console.print()
    for step in summary.steps:
        took = f"{step.seconds:.1f} s" if step.status == "done" else step.status
        console.print(f"  {step.name:<17} {took:>8}", markup=False)
    console.print(f"  {'in all':<17} {summary.seconds:>6.1f} s", markup=False)
    console.print(
        f"{changes.products:,} products: {changes.new:,} new, {changes.changed:,} changed, "
        f"{changes.removed:,} removed; {changes.reused:,} vectors reused, {changes.embedded:,} "
        "embedded",
        markup=False,
    )
    if summary.decision == "unchanged":
        console.print(
            f"Nothing changed: release {summary.champion} holds exactly these products, so there "
            "is no new release.",
            markup=False,
        )
    elif summary.release_id is not None:
        state = (
            "serves now"
            if summary.deployed
            else f"waits for you: `mmr deploy {summary.release_id} --workspace {workspace}`"
        )
        console.print(
            f"release: {summary.release_id}, refreshed from {summary.champion}, {state}",
            markup=False,
        )
