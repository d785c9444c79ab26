"""Starts the training that answers a drift: on this machine, or on a Kubeflow cluster."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from mmr.config.monitor import MonitorConfig
from mmr.config.run import load_settings
from mmr.workspace import Workspace
from pipelines.answering import KUBEFLOW, LOCAL, Breach, RetrainLedger
from pipelines.kubeflow import KubeflowServer, SingleRun
from pipelines.launch import RunRequest, launch
from pipelines.submission import read_source
from pipelines.watching import Look


class Trainer(Protocol):
    """Trains when asked to.

    Attributes:
        where: For people.
        source: What is trained on.
        revision: Hash of its content; None where it cannot be read from here.
    """

    where: str
    source: str
    revision: str | None

    def train(self) -> str:
        """Trains, or has it done; returns what came of it."""

    def __str__(self) -> str:
        """What would be started."""


class LocalTrainer:
    """Runs the pipeline in this process.

    Args:
        request: The run.
        quiet: Whether its lines go to stderr, so that stdout holds nothing else.

    Raises:
        MmrError: The feed or the settings are wrong.
    """

    where = LOCAL

    def __init__(self, request: RunRequest, *, quiet: bool) -> None:
        load_settings(request.preset)
        self.source = request.source
        self.revision: str | None = read_source(request.source).revision
        self._request, self._quiet = request, quiet

    def train(self) -> str:
        """Trains; returns the gate's decision."""
        with contextlib.redirect_stdout(sys.stderr if self._quiet else sys.stdout):
            summary = launch(self._request)
        released = f", release {summary.release_id}" if summary.release_id else ""
        return f"{summary.gate['decision']}{released}"

    def __str__(self) -> str:
        """The command that does the same."""
        request = self._request
        return (
            f"mmr run {request.source} --preset {request.preset} --workspace {request.workspace}"
            f"{'' if request.deploy else ' --no-deploy'}"
        )


class ClusterTrainer:
    """Submits the pipeline to a cluster, where it runs by itself.

    Args:
        run: The pipeline with its parameters.
        server: Where; None if it is only to be told what would be submitted.
    """

    where = KUBEFLOW

    def __init__(self, run: SingleRun, server: KubeflowServer | None) -> None:
        self.source = run.parameters["source"]
        self.revision: str | None = None
        self._run, self._server = run, server

    def train(self) -> str:
        """Submits; returns the id of the run."""
        assert self._server is not None, "a dry run submits nothing"
        return f"run {self._server.start(self._run)}"

    def __str__(self) -> str:
        """Name and experiment."""
        return f"the run {self._run.name} in experiment {self._run.experiment} on Kubeflow"


@dataclass(frozen=True)
class Response:
    """What was done about a drift.

    Attributes:
        message: For people.
        answers: The measures that a training was started for; none where none was.
    """

    message: str
    answers: frozenset[str]


def respond(look: Look, trainer: Trainer, *, settings: MonitorConfig, dry_run: bool) -> Response:
    """Starts a training if queries have drifted, and it was not done before.

    Args:
        look: What was seen.
        trainer: Who trains.
        settings: Which breaches count, and how long an answer counts.
        dry_run: Whether nothing is started.

    Raises:
        MmrError: The training failed, or another process is about to start one.
    """
    breached = [m.name.value for m in look.report.breaches if m.name in settings.retrain_on]
    if not breached:
        return Response("Nothing that a training answers is above its limit.", frozenset())
    ledger = RetrainLedger(Workspace.open(look.workspace))
    breach = Breach(look.release, breached, trainer.source, trainer.revision)
    pause = timedelta(days=settings.retrain_pause_days)
    what = ", ".join(breached)
    if dry_run:
        reason = ledger.reason_not_to(breach, pause=pause)
        would = f"Would start, because of {what}: {trainer}."
        return Response(f"Not retrained: {reason}." if reason else would, frozenset())
    reason = ledger.answer(breach, where=trainer.where, pause=pause, train=trainer.train)
    if reason is not None:
        return Response(f"Not retrained: {reason}.", frozenset())
    (*_, done) = ledger.records()
    return Response(
        f"Retrained because of {what}, on {done.where}: {done.detail}.", frozenset(breached)
    )
