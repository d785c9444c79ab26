"""The command `mmr ui`: which release it compares with, and what it says when it cannot."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mmr.errors import ArtifactError, ConfigError, TrackingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import cli_ui
from serving.ui import run
from tests.serving.deployments import register


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    cli_ui.register(app)
    return app


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[run.PageSettings]:
    """The pages that a command opened; none is served."""
    seen: list[run.PageSettings] = []

    def serve_page(
        shop: run.Shop, settings: run.PageSettings, *, started: Callable[[str], None]
    ) -> None:
        seen.append(settings)
        started("http://127.0.0.1:1/")

    monkeypatch.setattr(run, "serve_page", serve_page)
    return seen


def invoke(app: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def workspace(tmp_path: Path, make_release: Callable[..., Path]) -> Workspace:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    make_release(15, releases=workspace.releases)
    return workspace


def test_it_listens_on_loopback_and_compares_with_the_registrys_candidate(
    app: typer.Typer,
    workspace: Workspace,
    opened: list[run.PageSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (release,) = workspace.releases.iterdir()
    registry = InMemoryTracking()
    register(registry, release)
    registry.set_alias("candidate", release.name)
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: registry)

    output = invoke(app, "--workspace", str(workspace.path))

    assert (opened[0].host, opened[0].port) == ("127.0.0.1", 8080)
    assert opened[0].candidate == release
    assert "Search page: http://127.0.0.1:1/" in output
    assert "No pictures" in output


def test_without_a_candidate_the_page_shows_what_serves_alone(
    app: typer.Typer,
    workspace: Workspace,
    opened: list[run.PageSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: InMemoryTracking())

    output = invoke(app, "--workspace", str(workspace.path))

    assert opened[0].candidate is None
    assert "No release is candidate" in output


def test_an_unreachable_registry_costs_the_candidate_only(
    app: typer.Typer,
    workspace: Workspace,
    opened: list[run.PageSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(uri: str, **_: object) -> InMemoryTracking:
        raise TrackingError("no answer from the store")

    monkeypatch.setattr("mmr.tracking.open_tracking", unreachable)

    output = invoke(app, "--workspace", str(workspace.path))

    assert opened[0].candidate is None
    assert "no answer from the store" in output
    (release,) = workspace.releases.iterdir()
    invoke(app, "--workspace", str(workspace.path), "--candidate", release.name[:6])
    assert opened[1].candidate == release  # an id needs no registry


def test_an_unknown_candidate_is_refused_with_those_that_there_are(
    app: typer.Typer, workspace: Workspace
) -> None:
    (release,) = workspace.releases.iterdir()
    with pytest.raises(ArtifactError, match=release.name):
        invoke(app, "--workspace", str(workspace.path), "--candidate", "ffffffff")


def test_a_foreign_index_in_the_candidate_is_refused(
    app: typer.Typer, workspace: Workspace, make_release: Callable[..., Path], tmp_path: Path
) -> None:
    (own,) = workspace.releases.iterdir()
    mixed = make_release(16, releases=tmp_path / "mixed", index_from=own, golden_from=own)

    with pytest.raises(ArtifactError, match="was built with encoder"):
        invoke(app, "--workspace", str(workspace.path), "--candidate", str(mixed))


def test_missing_packages_are_named_with_the_extra_to_install(
    app: typer.Typer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "serving.ui.run")
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    with pytest.raises(ConfigError, match=r"mmr\[ui\]"):
        invoke(app, "--workspace", str(workspace.path), "--candidate", "none")
