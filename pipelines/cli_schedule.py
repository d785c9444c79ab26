"""The command that makes a pipeline recur: on Kubeflow, by cron, or by systemd."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli_options import (
    CpuOption,
    ExperimentOption,
    GpusOption,
    HostOption,
    MemoryOption,
    NamespaceOption,
    PipelineName,
    TokenOption,
    VolumeClaimOption,
    VolumePathOption,
    given_host,
)

if TYPE_CHECKING:
    from pipelines.kubeflow import RecurringRun
    from pipelines.scheduling import ScheduleRequest

_EXAMPLES = """**Examples:**

    mmr schedule refresh feed/ --cron "0 3 * * *"                    # a line for crontab -e

    mmr schedule refresh feed/ --cron "0 3 * * *" --to systemd --out units

    mmr schedule retrain data/shop --preset standard --cron "0 1 * * 0" --to crontab

    mmr schedule retrain /mnt/mmr/feed --workspace /mnt/mmr/shop --cron "0 1 * * 0"
    --to kubeflow --host https://kubeflow.example.com/pipeline --tracking-uri http://mlflow:5000
    --dry-run
"""


class Scheduler(StrEnum):
    """Who starts the pipeline."""

    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    KUBEFLOW = "kubeflow"


def register(app: typer.Typer) -> None:
    """Adds the command to the root app."""
    app.command(epilog=_EXAMPLES)(schedule)


def schedule(
    pipeline: Annotated[PipelineName, typer.Argument(help="Which.", show_default=False)],
    feed: Annotated[
        str,
        typer.Argument(
            help="Feed or dataset, read anew each time; for Kubeflow, its path inside the cluster.",
            show_default=False,
        ),
    ],
    cron: Annotated[
        str,
        typer.Option(
            help="Minute, hour, day of the month, month, day of the week. Kubeflow reads it in "
            "UTC, the others in the machine's time zone.",
            show_default=False,
        ),
    ],
    to: Annotated[Scheduler, typer.Option(help="Who starts it.")] = Scheduler.CRONTAB,
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="The workspace, where the pipeline runs.")
    ] = Path("workspace"),
    preset: Annotated[
        str, typer.Option(help="Of a retrain: `quick`, `standard`, or a YAML file.")
    ] = "standard",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A limit of a refresh. Repeatable."),
    ] = None,
    deploy: Annotated[
        bool | None,
        typer.Option(
            "--deploy/--no-deploy",
            help="Put releases that pass into Triton. Default: yes on this machine, no on "
            "Kubeflow, where a step does not run beside the server.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the schedule; default: pipeline and workspace.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for the files; default: print them.")
    ] = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    experiment: ExperimentOption = "mmr",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a schedule of the same name on Kubeflow.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted to Kubeflow.")
    ] = False,
    gpus: GpusOption = 0,
    cpu: CpuOption = "4",
    memory: MemoryOption = "16G",
    volume_claim: VolumeClaimOption = "mmr-workspace",
    volume_path: VolumePathOption = "/mnt/mmr",
) -> None:
    """Make a pipeline recur: retrain each week, refresh each night.

    On a machine without a cluster it prints a line for `crontab -e`, or the units of a systemd
    timer; nothing is installed. On Kubeflow it compiles the pipeline and submits a recurring run:
    one at a time, missed ones not made up, the champion looked up each time.
    """
    from mmr.cli_data import checked, pairs
    from mmr.config.refresh import RefreshConfig
    from pipelines.cron import parse_cron
    from pipelines.kubeflow import KubeflowServer
    from pipelines.resources import Resources, Volume
    from pipelines.scheduling import ScheduleRequest, recurring_run

    limits = pairs(settings or [], option="--set")
    checked(RefreshConfig, **limits)
    request = ScheduleRequest(
        pipeline=pipeline.value,
        feed=feed,
        workspace=workspace,
        schedule=parse_cron(cron),
        name=name,
        preset=preset,
        settings=limits,
        deploy=(to is not Scheduler.KUBEFLOW) if deploy is None else deploy,
        tracking_uri=tracking_uri,
    )
    if to is not Scheduler.KUBEFLOW:
        _for_this_machine(request, to, out)
        return
    volume = Volume(claim=volume_claim, path=volume_path)
    run = recurring_run(
        request,
        resources=Resources(cpu=cpu, memory=memory, gpus=gpus, volume=volume),
        volume=volume,
        experiment=experiment,
    )
    if dry_run:
        _show(run)
        return
    server = KubeflowServer(given_host(host), namespace, token)
    run_id = server.submit(run, replace=replace)
    typer.echo(f"{run.name} recurs at {run.cron} (UTC) on {server.host}: {run_id}")


def _for_this_machine(request: ScheduleRequest, to: Scheduler, out: Path | None) -> None:
    from mmr.atomic import write_text
    from pipelines.scheduling import scheduled_command

    command = scheduled_command(request, directory=Path.cwd())
    files = (
        {f"{command.name}.crontab": command.as_crontab()}
        if to is Scheduler.CRONTAB
        else command.as_systemd()
    )
    for name, text in files.items():
        if out is None:
            typer.echo(f"# {name}\n{text}" if len(files) > 1 else text, nl=False)
        else:
            write_text(out / name, text)
            typer.echo(f"Wrote {out / name}")
    _tell_when(request)


def _tell_when(request: ScheduleRequest) -> None:
    from datetime import datetime
    from itertools import islice

    times = islice(request.schedule.upcoming(datetime.now()), 3)
    said = ", ".join(f"{time:%a %Y-%m-%d %H:%M}" for time in times)
    typer.echo(f"It would run next at {said}.", err=True)


def _show(run: RecurringRun) -> None:
    import json

    shown = {
        "name": run.name,
        "experiment": run.experiment,
        "cron": run.cron,
        "parameters": dict(run.parameters),
    }
    typer.echo(json.dumps(shown, indent=2))
