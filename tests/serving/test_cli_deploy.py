"""promote, rollback and prune as the console script calls them."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from mmr.errors import ConfigError, TrackingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import cli, launcher
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.deploy import deploy
from serving.repository import ModelRepository
from serving.settings import ModelSettings, ServeSettings
from tests.serving.deployments import new_registry

Run = Callable[..., Result]


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "shop", create=True)


@pytest.fixture
def releases(shop: Workspace, make_release: Callable[..., Path]) -> list[Path]:
    return [make_release(seed, releases=shop.releases) for seed in (31, 32, 33)]


@pytest.fixture
def registry(releases: list[Path], monkeypatch: pytest.MonkeyPatch) -> InMemoryTracking:
    registry = new_registry(*releases)
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: registry)
    return registry


@pytest.fixture
def run(shop: Workspace, registry: InMemoryTracking, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    app = typer.Typer()
    cli.register(app)

    def call(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(
            app, [*arguments, "--workspace", str(shop.path)], input=answer, catch_exceptions=True
        )

    return call


def test_without_a_server_only_the_alias_moves_and_that_is_said(
    run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    result = run("promote", releases[0].name[:6], "--expect", "none", "--why", "first")
    assert result.exit_code == 0, result.output
    assert registry.resolve("champion") == releases[0].name
    assert "`mmr deploy champion` starts a server with it" in result.output
    assert (registry.history()[0].action, registry.history()[0].why) == ("promote", "first")


def test_a_promotion_that_expects_another_champion_is_refused(
    run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.promote(releases[0].name, expected=None, why="", who="")
    result = run("promote", releases[1].name, "--expect", releases[2].name, "--why", "late")
    assert isinstance(result.exception, TrackingError)
    assert f"but {releases[2].name} was expected" in str(result.exception)
    assert registry.resolve("champion") == releases[0].name


@pytest.mark.parametrize("expect", ["id", "beginning", "champion"])
def test_the_expected_champion_is_named_by_id_beginning_or_alias(
    expect: str, run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.promote(releases[0].name, expected=None, why="", who="")
    named = {"id": releases[0].name, "beginning": releases[0].name[:5]}.get(expect, expect)
    assert run("promote", releases[1].name, "--expect", named, "--why", "x").exit_code == 0
    assert registry.resolve("champion") == releases[1].name


def test_a_damaged_release_is_not_promoted(
    run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    (releases[0] / "golden.json").unlink()
    result = run("promote", releases[0].name, "--expect", "none", "--why", "x")
    assert "golden.json is missing" in str(result.exception)
    assert registry.resolve("champion") is None


def test_without_a_server_a_rollback_also_moves_what_a_server_would_load(
    run: Run, shop: Workspace, releases: list[Path], registry: InMemoryTracking
) -> None:
    repository = ModelRepository(shop.serving)
    repository.create()
    for version, release in enumerate(releases[:2], start=1):
        repository.add(release, version, settings=ModelSettings(), keep_versions=2)
        repository.set_active(ActiveVersion(version, release.name))
    registry.promote(releases[0].name, expected=None, why="", who="")
    registry.promote(releases[1].name, expected=releases[0].name, why="", who="")

    result = run("rollback", "--why", "worse")

    assert result.exit_code == 0, result.output
    assert "`mmr serve` starts it with this release" in result.output
    assert repository.active() == ActiveVersion(1, releases[0].name)
    assert registry.resolve("champion") == releases[0].name
    assert (registry.history()[0].action, registry.history()[0].why) == ("rollback", "worse")
    assert repository.versions("search") == [1]
    assert repository.next_version() == 3


def test_prune_asks_and_removes_only_what_nobody_needs(
    run: Run, shop: Workspace, releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.promote(releases[1].name, expected=None, why="", who="")
    declined = run("prune", "--keep", "1", answer="n\n")
    assert declined.exit_code == 1
    assert all(release.is_dir() for release in releases)

    result = run("prune", "--keep", "1", "--yes")

    assert result.exit_code == 0, result.output
    assert f"stays  {releases[1].name}  champion" in result.output
    assert f"Release {releases[0].name} removed" in result.output
    assert [release.is_dir() for release in releases] == [False, True, True]
    assert "Nothing to remove" in run("prune", "--keep", "1").output


def test_the_release_that_serves_or_is_kept_loaded_is_not_pruned(
    run: Run, shop: Workspace, releases: list[Path], registry: InMemoryTracking
) -> None:
    repository = ModelRepository(shop.serving)
    repository.create()
    for version, release in enumerate(releases[:2], start=1):
        repository.add(release, version, settings=ModelSettings(), keep_versions=2)
        repository.set_active(ActiveVersion(version, release.name))
    output = run("prune", "--keep", "1", "--yes").output
    assert f"{releases[0].name}  is kept loaded as version 1" in output
    assert f"{releases[1].name}  serves as version 2" in output
    assert all(release.is_dir() for release in releases)


def test_one_release_is_removed_by_name_unless_an_alias_names_it(
    run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.set_alias("candidate", releases[0].name)
    refused = run("prune", "--release", releases[0].name, "--yes")
    assert "it is candidate" in str(refused.exception)
    assert run("prune", "--release", releases[1].name, "--yes").exit_code == 0
    assert [release.is_dir() for release in releases] == [True, False, True]


def test_a_release_too_damaged_to_be_opened_can_still_be_removed(
    run: Run, releases: list[Path], registry: InMemoryTracking
) -> None:
    (releases[0] / "release.json").chmod(0o644)
    (releases[0] / "release.json").write_text("{")
    (releases[1] / "release.json").unlink()
    for damaged in releases[:2]:
        result = run("prune", "--release", damaged.name, "--yes")
        assert result.exit_code == 0, result.output
    assert [release.is_dir() for release in releases] == [False, False, True]


def test_prune_wants_to_know_what_to_remove(run: Run) -> None:
    assert isinstance(run("prune").exception, ConfigError)
    assert isinstance(run("prune", "--keep", "2", "--release", "a").exception, ConfigError)


def test_with_a_server_promote_and_rollback_change_what_answers(
    run: Run,
    shop: Workspace,
    releases: list[Path],
    registry: InMemoryTracking,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> None:
    def answering() -> str:
        with SearchClient(report.grpc_url) as client:
            return client.search("white lamp", 1).release_id

    try:
        report = deploy(
            releases[0],
            workspace=shop,
            registry=registry,
            serve=serve_settings,
            triton_venv=triton_venv,
        )
        result = run("promote", releases[1].name, "--expect", releases[0].name, "--why", "x")
        assert result.exit_code == 0, result.exception
        assert answering() == releases[1].name == registry.resolve("champion")
        began = time.monotonic()
        assert run("rollback").exit_code == 0
        assert answering() == releases[0].name == registry.resolve("champion")
        assert time.monotonic() - began < 3
        active = json.loads((shop.serving / "active.json").read_text())
        assert active["release_id"] == releases[0].name
    finally:
        launcher.shut_down(shop, grace_s=serve_settings.stop_grace_s)
