"""The version before stays loaded for the stated time, and no longer; settings change in place."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import ServingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.repository import ModelRepository
from serving.settings import DeploySettings, ModelSettings, ServeSettings
from serving.transport import connect
from tests.serving.patience import PATIENT

Deploy = Callable[..., DeployReport]


@pytest.fixture
def deploy_here(
    workspace: Workspace,
    registry: InMemoryTracking,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> Deploy:
    def call(release: Path, **other: Any) -> DeployReport:
        options = {"serve": serve_settings, "settings": PATIENT} | other
        return deploy(
            release,
            workspace=workspace,
            registry=registry,
            triton_venv=triton_venv,
            **options,
        )

    return call


def loaded(report: DeployReport) -> set[tuple[str, int]]:
    transport = connect(report.grpc_url, protocol="grpc", timeout_s=5)
    try:
        return set(transport.loaded())
    finally:
        transport.close()


def both(version: int) -> set[tuple[str, int]]:
    return {("search", version), ("query_encoder", version)}


def test_version_before_is_unloaded_when_its_time_is_over(
    deploy_here: Deploy,
    workspace: Workspace,
    release_a: Path,
    release_b: Path,
    customers: Callable[[str], Any],
) -> None:
    first = deploy_here(release_a)
    kept = ModelRepository(workspace.serving).kept
    assert kept.warm_until() == pytest.approx(time.time() + 86_400, abs=60)  # the default
    second = deploy_here(release_b, settings=PATIENT.model_copy(update={"keep_warm_s": 4}))
    assert loaded(second) == both(first.version) | both(second.version)

    with customers(second.grpc_url) as load:
        deadline = time.monotonic() + 30
        while loaded(second) != both(second.version) and time.monotonic() < deadline:
            time.sleep(0.2)

    assert loaded(second) == both(second.version)
    assert ModelRepository(workspace.serving).versions("search") == [second.version]
    assert not load.failures
    with (
        SearchClient(second.grpc_url, release=release_a.name) as pinned,
        pytest.raises(ServingError, match=f"{release_a.name} is not loaded"),
    ):
        pinned.search("oak desk")


def test_server_that_starts_after_the_time_loads_only_what_serves(
    deploy_here: Deploy,
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    release_b: Path,
) -> None:
    deploy_here(release_a)
    second = deploy_here(release_b, settings=PATIENT.model_copy(update={"keep_warm_s": 600}))
    launcher.shut_down(workspace, grace_s=15)
    repository = ModelRepository(workspace.serving)
    repository.kept.keep_warm(until=time.time() - 1)

    launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)

    assert loaded(second) == both(second.version)
    assert repository.kept.warm_until() is None


def test_other_threads_for_what_serves_are_applied_without_a_failed_request(
    deploy_here: Deploy,
    workspace: Workspace,
    serve_settings: ServeSettings,
    release_a: Path,
    customers: Callable[[str], Any],
) -> None:
    before = deploy_here(release_a)
    other = serve_settings.model_copy(update={"models": ModelSettings(threads=1, instances=2)})

    with customers(before.grpc_url) as load:
        after = deploy_here(release_a, serve=other)

    assert not load.failures
    assert set(load.answered) == {f"{release_a.name} ['1'] 5"}
    assert (after.version, after.golden is not None) == (before.version, True)
    config = ModelRepository(workspace.serving).read_config("search")
    assert "count: 2" in config
    assert deploy_here(release_a, serve=other).golden is None  # nothing to change any more


def test_settings_once_chosen_are_kept_by_later_deployments(
    deploy_here: Deploy, workspace: Workspace, release_a: Path, release_b: Path
) -> None:
    chosen = ModelSettings(threads=3, instances=1)
    deploy_here(release_a, serve=ServeSettings(models=chosen))

    deploy_here(release_b, serve=ServeSettings())

    assert ModelRepository(workspace.serving).kept.model_settings() == chosen
    config = ModelRepository(workspace.serving).read_config("search")
    assert 'key: "threads" value { string_value: "3" }' in config


def test_settings_with_which_it_fails_are_taken_back(
    deploy_here: Deploy, workspace: Workspace, serve_settings: ServeSettings, release_a: Path
) -> None:
    before = deploy_here(release_a, serve=serve_settings)
    config = ModelRepository(workspace.serving).read_config("search")
    other = serve_settings.model_copy(update={"models": ModelSettings(threads=2, max_batch=7)})

    with pytest.raises(ServingError, match="median search took"):
        deploy_here(release_a, serve=other, settings=DeploySettings(max_median_ms=1e-6))

    assert ModelRepository(workspace.serving).read_config("search") == config
    with SearchClient(before.grpc_url) as client:
        assert client.search("oak desk").release_id == release_a.name
    assert ModelRepository(workspace.serving).kept.model_settings() != other.models


def test_cooling_down_cut_short_is_finished_by_the_next_try(
    tmp_path: Path, release_a: Path, release_b: Path
) -> None:
    repository = ModelRepository(tmp_path)
    for version, release in enumerate((release_a, release_b), start=1):
        repository.add(release, version, settings=ModelSettings(), keep_versions=2)
    repository.set_active(ActiveVersion(2, release_b.name))
    repository.kept.keep_warm(until=0)

    def killed(model: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        repository.cool_down(killed)
    assert repository.kept.warm_until() == 0
    asked: list[str] = []
    assert repository.cool_down(asked.append) == []
    assert sorted(asked) == ["query_encoder", "search"]
    assert (repository.versions("search"), repository.kept.warm_until()) == ([2], None)
