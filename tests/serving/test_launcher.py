"""The local server: real Triton."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchClient
from serving.deploy import deploy
from serving.settings import ServeSettings


def test_start_deploy_restart_stop(
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    registry,
) -> None:
    first = launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
    again = launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
    assert again == first
    assert not launcher.status(workspace).answering

    deploy(release_a, workspace=workspace, registry=registry, serve=serve_settings)
    assert launcher.shut_down(workspace, grace_s=serve_settings.stop_grace_s)
    assert not first.is_alive()
    assert launcher.status(workspace).server is None
    assert not launcher.shut_down(workspace, grace_s=1)
    assert not list(Path("/dev/shm").glob(f"mmr_triton_{workspace.serving.stat().st_ino}_*"))

    second = launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
    assert launcher.status(workspace).answering
    with SearchClient(second.grpc_url) as client:
        assert client.search("white lamp", 1).release_id == release_a.name


def test_killed_server_is_replaced_and_serves_the_same_release(
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    registry,
) -> None:
    launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
    deploy(release_a, workspace=workspace, registry=registry, serve=serve_settings)
    killed = launcher.status(workspace).server
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    while killed.is_alive():
        time.sleep(0.01)

    server = launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)

    assert server.pid != killed.pid
    with SearchClient(server.grpc_url) as client:
        assert client.search("white lamp", 1).release_id == release_a.name


@pytest.mark.parametrize("name", ["http_port", "grpc_port", "metrics_port"])
def test_port_in_use_names_the_port_and_starts_nothing(
    name: str,
    tmp_path: Path,
    free_ports: Callable[[], int],
    triton_venv: Path,
) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)
    settings = ServeSettings.from_port_base(free_ports())
    port = getattr(settings, name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ServingError, match=rf"Port {port} .*in use.*--port-base"):
            launcher.start(workspace, settings=settings, triton_venv=triton_venv)

    assert launcher.status(workspace).server is None
    assert not (workspace.serving / "triton.json").exists()


def test_missing_environment_is_reported_before_anything_starts(
    tmp_path: Path, serve_settings: ServeSettings
) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)

    with pytest.raises(ServingError, match="make setup"):
        launcher.start(workspace, settings=serve_settings, triton_venv=tmp_path / "none")

    assert launcher.status(workspace).server is None


def test_address_of_another_machine_is_refused(
    tmp_path: Path, serve_settings: ServeSettings, triton_venv: Path
) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)
    settings = serve_settings.model_copy(update={"host": "192.0.2.1"})

    with pytest.raises(ServingError, match=r"192\.0\.2\.1 cannot be opened"):
        launcher.start(workspace, settings=settings, triton_venv=triton_venv)
