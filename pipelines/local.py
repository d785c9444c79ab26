"""Runs a compiled pipeline on this machine with `kfp.local`: no cluster, container or server."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.step import FOLLOWED
from mmr.errors import ConfigError
from mmr.workspace import Workspace
from pipelines.follow import PipelineFailedError, StepFollower, StepOutcome
from pipelines.forked_steps import forked_steps
from pipelines.graph import read_graph, without_retries

_CHILD_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", FOLLOWED: "1"}
_REWRITTEN = "python3"  # kfp.local replaces this text wherever it stands in a step's arguments


@dataclass(frozen=True)
class LocalRun:
    """What a run on this machine left behind.

    Attributes:
        steps: Every step of the pipeline, in order.
        outputs: The pipeline's output artifacts: name to path.
    """

    steps: list[StepOutcome]
    outputs: dict[str, Path]


def run_locally(
    ir_yaml: str,
    arguments: Mapping[str, str],
    *,
    workspace: Workspace,
    log: Path,
    show: Callable[[str], None],
) -> LocalRun:
    """Runs a compiled pipeline, one process a step, answering from the step cache where it can.

    Args:
        ir_yaml: The pipeline as the compiler wrote it. Retries are left out here.
        arguments: The pipeline's parameters.
        workspace: Holds the steps' outputs and the step cache.
        log: File that receives everything the steps and kfp print.
        show: Called with each line meant for the user.

    Raises:
        ConfigError: A path or value that `kfp.local` would corrupt.
        PipelineFailedError: A step failed.
    """
    _refuse_rewritten(workspace, arguments)
    graph = read_graph(ir_yaml)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as log_file:
        follower = StepFollower(graph, show=show, log=log_file)
        with _quiet_kfp(follower), forked_steps(log_file):
            try:
                outputs = _run(without_retries(ir_yaml), arguments, workspace)
            except RuntimeError as error:  # how kfp.local says that a task failed
                raise PipelineFailedError(
                    f"The pipeline stopped before a step could say why. The whole log is in {log}."
                ) from error
    return LocalRun(steps=follower.finish(), outputs=outputs)


def _run(ir_yaml: str, arguments: Mapping[str, str], workspace: Workspace) -> dict[str, Path]:
    from kfp import components, local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workspace.pipeline_runs / "artifacts"),
        enable_caching=True,
        cache_root=str(workspace.pipeline_runs / "step-cache"),
    )
    task = components.load_component_from_text(ir_yaml)(**arguments)
    return {name: Path(artifact.path) for name, artifact in task.outputs.items()}


@contextlib.contextmanager
def _quiet_kfp(follower: StepFollower) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_CHILD_ENVIRONMENT)
    try:
        with contextlib.redirect_stdout(follower), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kfp.local warns of each resource limit
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _refuse_rewritten(workspace: Workspace, arguments: Mapping[str, str]) -> None:
    for name, value in {**arguments, "workspace": str(workspace.path)}.items():
        if _REWRITTEN in value:
            raise ConfigError(
                f"{name} contains the text '{_REWRITTEN}' ({value[:200]}), which kfp's local "
                "runner replaces in every argument. Choose a path without it, or use a link."
            )
    if " " in sys.executable:
        raise ConfigError(
            f"The Python at '{sys.executable}' has a blank in its path, which kfp's local runner "
            "cannot start. Make the virtual environment in a directory without blanks."
        )
