"""The command that looks at the query log, and may answer a drift with a training."""

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
    TokenOption,
    VolumeClaimOption,
    VolumePathOption,
    given_host,
)

if TYPE_CHECKING:
    from rich.table import Table

    from mmr.config.monitor import MonitorConfig
    from mmr.monitoring.report import MonitorReport
    from pipelines.kubeflow import KubeflowServer
    from pipelines.resources import Resources, Volume
    from pipelines.retraining import Trainer
    from pipelines.watching import Look

EXIT_BREACH = 3
_LOG_WIDTH = 150  # characters of the table where there is no terminal to ask
_EXAMPLES = """**Examples:**

    mmr monitor                                              # the last 7 days of what serves

    mmr monitor champion --days 1 --textfile /var/lib/node_exporter/mmr.prom

    mmr monitor --print-settings > monitor.yaml              # every limit, with its meaning

    mmr monitor --settings monitor.yaml --json

    mmr monitor --retrain feed/ --preset laptop              # from cron: train when queries drift

    mmr monitor --retrain /mnt/mmr/feed --to kubeflow --cluster-workspace /mnt/mmr/shop
    --host https://kubeflow.example.com/pipeline --tracking-uri http://mlflow:5000 --dry-run
"""


class Where(StrEnum):
    """Who trains."""

    LOCAL = "local"
    KUBEFLOW = "kubeflow"


def register(app: typer.Typer) -> None:
    """Adds the command to the root app."""
    app.command(epilog=_EXAMPLES)(monitor)


def monitor(
    release: Annotated[
        str,
        typer.Argument(
            help="Release id, the beginning of one, its directory, or an alias; `served` is what "
            "serves now, or else the champion."
        ),
    ] = "served",
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Folder of releases, runs and servers.")
    ] = Path("workspace"),
    days: Annotated[float, typer.Option(min=0.01, help="How far to look back.")] = 7.0,
    log: Annotated[
        Path | None,
        typer.Option(help="Directory of query logs, such as those gathered from several servers."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file with limits; absent ones keep their defaults.")
    ] = None,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Print the limits as YAML, and do no more.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the report. Default: WORKSPACE/monitor/report."),
    ] = None,
    textfile: Annotated[
        Path | None,
        typer.Option(help="File of Prometheus metrics. Default: WORKSPACE/monitor/mmr.prom."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow; default: SQLite inside the workspace."
        ),
    ] = None,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="FEED", help="Train on this feed or dataset if the queries have drifted."
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Of the training: `quick`, `laptop`, or a YAML file.")
    ] = "laptop",
    deploy: Annotated[
        bool | None,
        typer.Option(
            "--deploy/--no-deploy",
            help="Put a release that passes into Triton. Default: yes on this machine, no on "
            "Kubeflow.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[Where, typer.Option(help="Who trains.")] = Where.LOCAL,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be started, and start nothing.")
    ] = False,
    cluster_workspace: Annotated[
        Path | None, typer.Option(help="The workspace's path inside the cluster.")
    ] = None,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    token: TokenOption = None,
    experiment: ExperimentOption = "mmr",
    gpus: GpusOption = 0,
    cpu: CpuOption = "4",
    memory: MemoryOption = "16G",
    volume_claim: VolumeClaimOption = "mmr-workspace",
    volume_path: VolumePathOption = "/mnt/mmr",
) -> None:
    """Hold live queries against those that the release was trained on.

    Reads the query log and tells whether queries have drifted, how many words are new, how many
    answers are poor, empty, failed or slow, and how much of the catalogue is shown. Writes a report
    (HTML, Markdown, JSON) and a textfile for Prometheus. Few queries raise no alarm: a limit counts
    as exceeded only when chance does not explain it.

    With --retrain, a drift above its limit starts the training pipeline, once: not when it was
    answered in the last days, when a newer release waits, or when the feed is what the release
    was trained on.

    The exit status is 0 when nothing is above its upper limit, or a training was started for all
    that is; 3 when something is; 1 when it cannot be told.
    """
    from mmr.config.monitor import MonitorConfig
    from mmr.config.run import load_monitor_settings
    from pipelines.watching import MonitorRequest, look

    limits = load_monitor_settings(settings) if settings else MonitorConfig()
    if print_settings:
        _print_settings(limits)
        return
    trainer: Trainer | None = None
    if retrain is not None and to is Where.KUBEFLOW:
        from pipelines.resources import Resources, Volume

        volume = Volume(claim=volume_claim, path=volume_path)
        trainer = _cluster_trainer(
            retrain,
            cluster_workspace or workspace.absolute(),
            resources=Resources(cpu=cpu, memory=memory, gpus=gpus, volume=volume),
            volume=volume,
            experiment=experiment,
            preset=preset,
            deploy=deploy or False,
            tracking_uri=tracking_uri,
            server=None if dry_run else _server(host, namespace, token),
        )
    elif retrain is not None:
        from pipelines.launch import RunRequest
        from pipelines.retraining import LocalTrainer

        request = RunRequest(
            source=retrain,
            preset=preset,
            workspace=workspace,
            deploy=deploy is not False,
            tracking_uri=tracking_uri,
        )
        trainer = LocalTrainer(request, quiet=as_json)
    seen = look(
        MonitorRequest(
            workspace=workspace,
            settings=limits,
            release=release,
            days=days,
            log=log,
            out=out,
            textfile=textfile,
            tracking_uri=tracking_uri,
        )
    )
    _show(seen, as_json=as_json)
    answers: frozenset[str] = frozenset()
    if trainer is not None:
        from pipelines.retraining import respond

        response = respond(seen, trainer, settings=limits, dry_run=dry_run)
        typer.echo(response.message, err=as_json)
        answers = response.answers
    if any(measure.name.value not in answers for measure in seen.report.breaches):
        raise typer.Exit(EXIT_BREACH)


def _server(host: str | None, namespace: str | None, token: str | None) -> KubeflowServer:
    from pipelines.kubeflow import KubeflowServer

    return KubeflowServer(given_host(host), namespace, token)


def _cluster_trainer(
    feed: str,
    workspace: Path,
    *,
    resources: Resources,
    volume: Volume,
    experiment: str,
    preset: str,
    deploy: bool,
    tracking_uri: str | None,
    server: KubeflowServer | None,
) -> Trainer:
    from pipelines.retraining import ClusterTrainer
    from pipelines.scheduling import RETRAIN, PipelineRequest, single_run

    request = PipelineRequest(
        pipeline=RETRAIN,
        feed=feed,
        workspace=workspace,
        preset=preset,
        settings={},
        deploy=deploy,
        tracking_uri=tracking_uri,
    )
    run = single_run(request, resources=resources, volume=volume, experiment=experiment)
    return ClusterTrainer(run, server)


def _print_settings(limits: MonitorConfig) -> None:
    from mmr.config.commented import commented_yaml

    typer.echo(commented_yaml(limits), nl=False)


def _show(seen: Look, *, as_json: bool) -> None:
    import json
    import sys

    from rich.console import Console
    from rich.text import Text

    from mmr.monitoring.pages import facts, headline
    from mmr.release.diff_text import visible

    if as_json:
        typer.echo(json.dumps(seen.report.as_json(), indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH, soft_wrap=True)
    console.print(_table(seen.report), soft_wrap=False)
    console.print(Text(headline(seen.report), style="bold"))
    for name, value in facts(seen.report):
        console.print(Text(f"  {name}: {value}"))
    for line in seen.report.damages:
        console.print(Text(f"  damaged: {visible(line)}"))
    console.print(Text(f"report {seen.out / 'report.html'}, metrics {seen.textfile}"))


def _table(report: MonitorReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    from mmr.monitoring.pages import interval, limits, shown

    styles = {"breach": "bold red", "warn": "yellow", "ok": "green"}
    table = Table()
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("interval")
    table.add_column("warn / breach", justify="right")
    table.add_column("status")
    table.add_column("note", overflow="fold")
    for found in report.measures:
        table.add_row(
            found.title,
            shown(found, found.value),
            interval(found),
            limits(found),
            Text(found.status, style=styles.get(found.status, "")),
            Text(found.note),
        )
    return table
