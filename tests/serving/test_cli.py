import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mmr.errors import MmrError, ServingError
from mmr.workspace import Workspace
from serving import cli
from serving.process import RunningServer

Served = tuple[Workspace, RunningServer]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    cli.register(app)
    return app


def run(app: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_search_prints_rank_score_title_and_release(
    app: typer.Typer, served: Served, release_a: Path
) -> None:
    output = run(app, "search", "white wardrobe", "-k", "4", "--workspace", str(served[0].path))

    assert "White Wardrobe" in output
    assert "1.0000" in output
    assert "1-0" in output
    assert f"release {release_a.name}" in output


def test_search_over_http_by_address(app: typer.Typer, served_openly: Served) -> None:
    url = served_openly[1].http_url
    output = run(app, "search", "red sofa", "--url", url, "--protocol", "http", "-k", "1")

    assert "Red Sofa" in output


def test_status_names_release_and_ports(app: typer.Typer, served: Served, release_a: Path) -> None:
    output = run(app, "serve", "--status", "--workspace", str(served[0].path))

    assert release_a.name in output
    assert f"gRPC {served[1].grpc_url}" in output


def test_serving_twice_says_that_it_runs(app: typer.Typer, served: Served) -> None:
    output = run(app, "serve", "--workspace", str(served[0].path))

    assert "running already" in output
    assert f"pid {served[1].pid}" in output


def test_search_without_a_server_says_how_to_start_one(app: typer.Typer, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)

    with pytest.raises(ServingError, match="mmr serve"):
        run(app, "search", "lamp", "--workspace", str(workspace.path))


def test_stop_without_a_server_is_no_error(app: typer.Typer, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)

    assert "not running" in run(app, "serve", "--stop", "--workspace", str(workspace.path))


def test_deploying_an_unknown_release_lists_what_there_is(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)
    (workspace.releases / "00aa11bb22cc33dd").mkdir(parents=True)
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: _NothingRegistered())

    with pytest.raises(MmrError, match="00aa11bb22cc33dd"):
        run(app, "deploy", "ffff", "--workspace", str(workspace.path))


class _NothingRegistered:
    def resolve(self, alias: str) -> None:
        return None


def test_titles_cannot_control_the_terminal() -> None:
    assert cli._visible("Lamp\x1b[2J\x07 weiß 🛋") == "Lamp [2J  weiß 🛋"


def test_import_of_the_commands_is_light() -> None:
    code = "import sys, serving.cli; print('tritonclient' in sys.modules, 'numpy' in sys.modules)"
    root = Path(__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ).stdout

    assert output.split() == ["False", "False"]
