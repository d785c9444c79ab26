"""The commands, called as the console script calls them, on an in-memory registry."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import mmr.tracking
from mmr import cli_release
from mmr.errors import MmrError
from mmr.release.bundle import Release
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace

Run = Callable[..., Result]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> InMemoryTracking:
    registry = InMemoryTracking()
    monkeypatch.setattr(mmr.tracking, "open_tracking", lambda uri, **_: registry)
    return registry


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "250")
    Workspace.open(tmp_path / "shop", create=True)
    app = typer.Typer()
    cli_release.register(app)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--workspace", str(tmp_path / "shop")])

    return call


@pytest.fixture
def release(
    build_release: Callable[..., Path], registry: InMemoryTracking, tmp_path: Path
) -> Release:
    built = Release.open(build_release())
    home = tmp_path / "shop" / "releases"
    home.mkdir()
    built.path.rename(home / built.release_id)
    registry.register(
        release_id=built.release_id,
        release_dir=home / built.release_id,
        run_id=None,
        tags={"gate_decision": "promote"},
    )
    return Release.open(home / built.release_id)


def test_releases_are_listed_with_their_aliases(
    run: Run, release: Release, registry: InMemoryTracking
) -> None:
    registry.set_alias("candidate", release.release_id)
    result = run("releases")
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if release.release_id in line)
    assert "candidate" in line
    assert "present" in line
    assert json.loads(run("releases", "--json").output)[0]["aliases"] == ["candidate"]


def test_an_empty_workspace_says_what_to_do(run: Run, registry: InMemoryTracking) -> None:
    assert "`mmr run DATASET` makes one" in run("releases").output
    assert "No release has been promoted yet" in run("history").output


@pytest.mark.parametrize("name", ["id", "beginning", "champion"])
def test_a_release_is_found_by_id_beginning_or_alias(
    name: str, run: Run, release: Release, registry: InMemoryTracking
) -> None:
    registry.promote(release.release_id, expected=None, why="", who="")
    named = {"id": release.release_id, "beginning": release.release_id[:5]}.get(name, name)
    result = run("release", "show", named)
    assert result.exit_code == 0
    assert release.manifest.encoder_fingerprint in result.output
    shown = json.loads(run("release", "show", named, "--json").output)
    assert shown["release_id"] == release.release_id


@pytest.mark.parametrize(
    ("name", "message"),
    [("zzzz", "'zzzz' is none of the releases"), ("previous", "No release is previous")],
)
def test_an_unknown_release_is_an_error_that_lists_the_others(
    name: str, message: str, run: Run, release: Release
) -> None:
    result = run("release", "show", name)
    assert isinstance(result.exception, MmrError)
    assert message in str(result.exception)


def test_verify_names_the_tampered_file(run: Run, release: Release) -> None:
    (release.path / "golden.json").unlink()
    result = run("release", "verify", release.release_id)
    assert isinstance(result.exception, MmrError)
    assert "golden.json is missing" in str(result.exception)


def test_history_tells_who_and_why(run: Run, release: Release, registry: InMemoryTracking) -> None:
    registry.promote(release.release_id, expected=None, why="better [bold]by far", who="ann")
    result = run("history")
    assert "better [bold]by far" in result.output
    assert "ann" in result.output
    assert json.loads(run("history", "--json").output)[0]["who"] == "ann"
