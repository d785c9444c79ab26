"""What a user wants to run or recur, as a run of Kubeflow or a command of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmr.config.refresh import RefreshConfig
from mmr.config.run import load_settings
from mmr.errors import ConfigError
from mmr.tracking.connection import check_recordable
from mmr.workspace import Workspace
from pipelines.compilation import compile_ir
from pipelines.cron import CronSchedule
from pipelines.definitions import build_pipeline
from pipelines.kubeflow import RecurringRun, SingleRun
from pipelines.resources import Resources, Volume
from pipelines.submission import SHOWROOM, Source, read_source, refresh_arguments, retrain_arguments
from pipelines.timetable import ScheduledCommand
from serving.settings import ServeSettings

_REVISION = "as found when it runs"  # the step cache, which would compare it, is off
RETRAIN, REFRESH = "retrain", "refresh"


@dataclass(frozen=True, kw_only=True)
class PipelineRequest:
    """What shall run.

    Attributes:
        pipeline: `retrain` or `refresh`.
        feed: Feed or dataset, read when it runs.
        workspace: The workspace, where the pipeline runs.
        name: Of the schedule or run; None makes one of pipeline and workspace.
        preset: Settings of a retrain.
        settings: Limits of a refresh.
        deploy: Whether releases that pass go to Triton.
        tracking_uri: MLflow; None for SQLite inside the workspace.
    """

    pipeline: str
    feed: str
    workspace: Path
    name: str | None = None
    preset: str
    settings: dict[str, str]
    deploy: bool
    tracking_uri: str | None

    @property
    def full_name(self) -> str:
        """Letters, digits and `-`, as Kubernetes and systemd take them.

        Raises:
            ConfigError: The user's own name has another form.
        """
        if self.name is None:
            place = re.sub(r"[^a-z0-9]+", "-", self.workspace.name.lower()).strip("-")
            return "-".join(filter(None, ("mmr", self.pipeline, place)))
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", self.name):
            raise ConfigError(
                f"--name {self.name!r} must be made of small letters, digits and `-`, at most 63."
            )
        return self.name


@dataclass(frozen=True, kw_only=True)
class ScheduleRequest(PipelineRequest):
    """What shall recur.

    Attributes:
        schedule: When.
    """

    schedule: CronSchedule


def single_run(
    request: PipelineRequest, *, resources: Resources, volume: Volume, experiment: str
) -> SingleRun:
    """A run for a cluster, complete but not submitted.

    Args:
        request: What shall run; its paths are those inside the cluster.
        resources: Of the heavy steps, the volume included.
        volume: Where workspace and feed must lie.
        experiment: The runs are listed there.

    Raises:
        ConfigError: A path lies outside the volume, or MLflow is no server.
    """
    for name, path in (("FEED", request.feed), ("--workspace", str(request.workspace))):
        if not (name == "FEED" and path.startswith(SHOWROOM)):
            _check_on_volume(name, path, volume)
    if not (request.tracking_uri or "").startswith(("http://", "https://")):
        raise ConfigError(
            f"--tracking-uri is {request.tracking_uri or 'not given'}, but on a cluster it must be "
            "an MLflow server (http://… or https://…): SQLite on a shared volume is not safe."
        )
    pipeline = build_pipeline(request.pipeline, resources)
    return SingleRun(
        name=request.full_name,
        experiment=experiment,
        ir_yaml=compile_ir(pipeline),
        parameters=_parameters(request, str(request.tracking_uri)),
    )


def recurring_run(
    request: ScheduleRequest, *, resources: Resources, volume: Volume, experiment: str
) -> RecurringRun:
    """The same, to recur; see `single_run`."""
    run = single_run(request, resources=resources, volume=volume, experiment=experiment)
    return RecurringRun(
        name=run.name,
        experiment=run.experiment,
        ir_yaml=run.ir_yaml,
        parameters=run.parameters,
        cron=request.schedule.as_kubeflow(),
    )


def scheduled_command(request: ScheduleRequest, *, directory: Path) -> ScheduledCommand:
    """The same for this machine: `mmr run` or `mmr refresh`, with absolute paths.

    Args:
        request: What shall recur; the feed must be there.
        directory: Where the command runs; settings files and environments are looked for there.

    Raises:
        DataContractError: There is no such feed.
        ArtifactError: A refresh is asked for where no workspace is.
        ConfigError: A setting is wrong, or the address of MLflow holds a password.
    """
    source = read_source(request.feed, judged=request.pipeline == RETRAIN)
    check_recordable(request.tracking_uri or "")
    workspace = request.workspace.absolute()
    arguments = ["run" if request.pipeline == RETRAIN else "refresh", source.text]
    if request.pipeline == RETRAIN:
        load_settings(request.preset)
        preset = Path(request.preset)
        arguments += ["--preset", str(preset.absolute()) if preset.is_file() else request.preset]
    else:
        Workspace.open(workspace)
        for name, value in request.settings.items():
            arguments += ["--set", f"{name}={value}"]
    arguments += ["--workspace", str(workspace)]
    arguments += [] if request.deploy else ["--no-deploy"]
    arguments += ["--tracking-uri", request.tracking_uri] if request.tracking_uri else []
    return ScheduledCommand(
        name=request.full_name,
        arguments=arguments,
        directory=directory,
        log=workspace.with_name(f"{workspace.name}-schedule.log"),
        schedule=request.schedule,
    )


def _parameters(request: PipelineRequest, tracking_uri: str) -> dict[str, str]:
    source = Source(text=request.feed, revision=_REVISION, name=request.feed)
    workspace = Workspace(request.workspace)
    if request.pipeline == RETRAIN:
        return retrain_arguments(
            source,
            settings=load_settings(request.preset),
            workspace=workspace,
            tracking_uri=tracking_uri,
            previous_dataset=None,
            serve=ServeSettings(),
            deploy=request.deploy,
        )
    return refresh_arguments(
        source,
        settings=RefreshConfig.model_validate(request.settings),
        workspace=workspace,
        tracking_uri=tracking_uri,
        serve=ServeSettings(),
        deploy=request.deploy,
    )


def _check_on_volume(name: str, path: str, volume: Volume) -> None:
    inside = PurePosixPath(path)
    if ".." in inside.parts or not inside.is_relative_to(volume.path):
        raise ConfigError(
            f"{name} is {path!r}, but steps on the cluster see only what lies below {volume.path}, "
            f"where the claim {volume.claim!r} is mounted. Name the path inside the cluster, or "
            "another --volume-path."
        )
