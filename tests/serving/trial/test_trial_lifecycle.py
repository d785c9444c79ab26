"""A trial on a real Triton: how it starts, what it survives, what ends it and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from mmr.errors import ArtifactError, ConfigError, ServingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import cli, launcher
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.live.places import LivePlaces
from serving.model_config import TRIAL_SUFFIX
from serving.repository import ModelRepository
from serving.rollback import roll_back
from serving.settings import DeploySettings, ServeSettings
from serving.transport import connect
from serving.trial import Shares, end_trial, start_trial
from tests.serving.deployments import register
from tests.serving.patience import PATIENT
from tests.serving.trial.conftest import StartTrial, until, wait_a_moment

MakeRelease = Callable[..., Path]


def test_trial_survives_a_restart_of_the_server_and_so_does_its_rollback(
    try_b: StartTrial,
    live: DeployReport,
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    release_b: Path,
) -> None:
    trial = try_b(canary=1)

    def restart() -> None:
        launcher.shut_down(workspace, grace_s=15)
        launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
        wait_a_moment()

    def release() -> str:
        with SearchClient(live.grpc_url, timeout_s=20) as client:
            return client.search("oak desk").release_id

    restart()
    assert release() == release_b.name
    LivePlaces(workspace.serving).write_trip(trial, "too slow")
    restart()
    assert release() == release_a.name


def test_deployment_and_rollback_end_the_trial(
    no_trial: None, workspace: Workspace, registry: InMemoryTracking, make_release: MakeRelease
) -> None:
    there: dict[str, Any] = {"workspace": workspace, "registry": registry, "settings": PATIENT}
    old, new = (make_release(seed, releases=workspace.releases) for seed in (11, 12))
    for release in (old, new):
        register(registry, release)
    deploy(old, **there)

    for candidate, change in (
        (new, lambda: deploy(new, **there)),
        (old, lambda: roll_back(**there)),
    ):
        trial, _ = start_trial(candidate, shares=Shares(canary=1), **there)
        report = change()

        assert LivePlaces(workspace.serving).read_trial() is None
        with SearchClient(report.grpc_url, timeout_s=20) as client:
            assert client.search("oak desk").release_id == candidate.name
        transport = connect(report.grpc_url, protocol="grpc", timeout_s=5)
        assert not any(model.endswith(TRIAL_SUFFIX) for model, _ in transport.loaded())
        transport.close()
        # Its number is not given again.
        assert ModelRepository(workspace.serving).next_version() > trial.version


def test_trial_of_what_serves_of_a_second_or_of_an_unregistered_release_is_refused(
    try_b: StartTrial,
    live: DeployReport,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: MakeRelease,
    release_a: Path,
    release_b: Path,
) -> None:
    there: dict[str, Any] = {"workspace": workspace, "shares": Shares(shadow=1)}
    with pytest.raises(ServingError, match="serves already"):
        start_trial(release_a, registry=registry, **there)
    with pytest.raises(ArtifactError, match="is not registered"):
        start_trial(make_release(8), registry=registry, **there)
    try_b(shadow=1)
    with pytest.raises(ServingError, match="is on trial since"):
        start_trial(release_b, registry=registry, **there)
    end_trial(workspace)
    with pytest.raises(ServingError, match="There is no trial"):
        end_trial(workspace)


def test_candidate_that_fails_its_golden_queries_sees_no_query(
    no_trial: None, workspace: Workspace, registry: InMemoryTracking, release_b: Path
) -> None:
    with pytest.raises(ServingError, match="median search took"):
        start_trial(
            release_b,
            workspace=workspace,
            registry=registry,
            shares=Shares(canary=1),
            settings=DeploySettings(max_median_ms=1e-6),
        )

    assert LivePlaces(workspace.serving).read_trial() is None
    assert ModelRepository(workspace.serving).versions("search" + TRIAL_SUFFIX) == []


def test_commands_start_show_widen_and_stop_a_trial(
    live: DeployReport,
    no_trial: None,
    workspace: Workspace,
    registry: InMemoryTracking,
    release_b: Path,
    client: SearchClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: registry)
    app = typer.Typer()
    cli.register(app)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["trial", *arguments, "--workspace", str(workspace.path)])

    assert "There is no trial" in run("show").output
    assert isinstance(run("start", str(release_b)).exception, ConfigError)
    started = run("start", str(release_b), "--shadow", "1", "--canary", "0.1")
    assert (
        f"Release {release_b.name} passed its 10 golden queries and is on trial as"
        in started.output
    ), started.exception
    wait_a_moment()
    client.search("oak desk", key="live")
    until(workspace, lambda now: now.shadow.compared + now.canary.answers > 0)
    shown = run("show")
    assert f"Release {release_b.name} (version " in shown.output
    assert "shadow 100%" in shown.output
    assert '"canary_share": 0.1' in run("show", "--json").output
    assert "canary 50%" in run("set", "--canary", "0.5").output
    assert isinstance(run("set").exception, ConfigError)
    assert "has ended" in run("stop").output
    assert "null" in run("show", "--json").output
