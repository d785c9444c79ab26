"""A release that serves on a real Triton, another on trial beside it, and a client."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.live.places import LivePlaces
from serving.live.settings import CanaryBudget, Trial
from serving.settings import ServeSettings
from serving.trial import Shares, change_shares, end_trial, start_trial
from serving.trial_report import TrialReport, report_trial
from tests.serving.patience import PATIENT

StartTrial = Callable[..., Trial]


@pytest.fixture
def live(
    workspace: Workspace,
    registry: InMemoryTracking,
    release_a: Path,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> DeployReport:
    """Release A serves (product ids `1-…`)."""
    return deploy(
        release_a,
        workspace=workspace,
        registry=registry,
        serve=serve_settings,
        triton_venv=triton_venv,
        settings=PATIENT,
    )


@pytest.fixture
def no_trial(live: DeployReport, workspace: Workspace) -> None:
    if LivePlaces(workspace.serving).read_trial():
        end_trial(workspace)


@pytest.fixture
def try_b(
    live: DeployReport, workspace: Workspace, registry: InMemoryTracking, release_b: Path
) -> StartTrial:
    """Starts a trial of release B (product ids `2-…`), or goes on with one that is as good."""
    places = LivePlaces(workspace.serving)

    def start(*, shadow: float = 0.0, canary: float = 0.0, **limits: Any) -> Trial:
        budget = CanaryBudget(**({"timeout_ms": 5_000, "max_p95_ms": 10_000} | limits))
        trial = places.read_trial()
        if trial and trial.budget == budget and not places.read_trip(trial):
            trial = change_shares(workspace, shadow=shadow, canary=canary)
        else:
            if trial:
                end_trial(workspace)
            trial, _ = start_trial(
                release_b,
                workspace=workspace,
                registry=registry,
                shares=Shares(shadow, canary),
                budget=budget,
                settings=PATIENT,
            )
        wait_a_moment()
        return trial

    return start


@pytest.fixture
def client(live: DeployReport) -> Iterator[SearchClient]:
    with SearchClient(live.grpc_url, timeout_s=20) as client:
        yield client


def wait_a_moment() -> None:
    """The server looks at the trial's settings twice a second."""
    time.sleep(1.5)


def until(workspace: Workspace, enough: Callable[[TrialReport], bool]) -> TrialReport:
    deadline = time.monotonic() + 20
    while True:
        report = report_trial(workspace)
        assert report is not None
        if enough(report) or time.monotonic() > deadline:
            return report
        time.sleep(0.1)
