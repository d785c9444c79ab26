"""`mmr doctor` as a person calls it, and on a running server."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import cli, launcher
from serving.client import SearchClient
from serving.deploy import deploy
from serving.doctor.diagnosis import Patient
from serving.repository import ModelRepository
from serving.settings import ModelSettings, ServeSettings
from tests.serving.doctor.examining import assert_mended, only, wrong

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


def test_the_command_fails_where_an_error_remains(
    shop: Workspace,
    deployed: ModelRepository,
    registry: InMemoryTracking,
    releases: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve_settings: ServeSettings,
) -> None:
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: registry)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    app = typer.Typer()
    cli.register(app)
    ports = ["--port-base", str(serve_settings.http_port)]

    def call(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", *ports, *more])
        return result.exit_code, result.output

    assert call("--workspace", str(shop.path))[0] == 0
    registry.promote(releases[0].name, expected=releases[1].name, why="", who="")
    code, output = call("--workspace", str(shop.path))
    assert code == 1
    assert "→ A deployment was cut short" in output
    code, output = call("--workspace", str(shop.path), "--repair")
    assert code == 0
    assert "repaired: `mmr serve` will load the champion" in output
    code, output = call("--workspace", str(shop.path), "--quick", "--json")
    assert {row["level"] for row in json.loads(output[output.index("[") :])} == {"ok"}
    (tmp_path / "other").mkdir()
    assert call("--workspace", str(tmp_path / "other"))[0] == 1
    assert call("--workspace", str(tmp_path / "not-yet"))[0] == 0


def test_a_running_server_is_brought_to_the_champion(
    patient: Patient,
    shop: Workspace,
    registry: InMemoryTracking,
    releases: list[Path],
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> None:
    old, new = releases
    there = {
        "workspace": shop,
        "registry": registry,
        "serve": serve_settings,
        "triton_venv": triton_venv,
    }
    try:
        report = deploy(old, **there)
        assert wrong(patient) == []
        # As after a kill between load and switch: Triton answers with what nothing records.
        server = launcher.status(shop).server
        assert server is not None
        models = ModelRepository(shop.serving).add(
            new, report.version + 1, settings=ModelSettings(threads=1), keep_versions=2
        )
        list(launcher.load_models(server, models, timeout_s=120))
        found = [finding.what for finding in wrong(patient)]
        assert any(f"active.json {old.name}, Triton {new.name}" in what for what in found)
        assert any("never switched to" in what for what in found)
        assert_mended(patient)
        with SearchClient(report.grpc_url) as client:
            assert client.search("white lamp", 1).release_id == old.name
        # The champion moved, the server was not told.
        registry.promote(new.name, expected=old.name, why="", who="")
        assert "they must be the same" in only(patient).what
        assert_mended(patient)
        with SearchClient(report.grpc_url) as client:
            assert client.search("white lamp", 1).release_id == new.name
    finally:
        launcher.shut_down(shop, grace_s=serve_settings.stop_grace_s)
