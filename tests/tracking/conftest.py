"""Both kinds of tracking; the MLflow store is created once, its creation is slow."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmr.tracking import InMemoryTracking, open_tracking

MakeRelease = Callable[[str], Path]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with all tables and nothing in it."""
    from mmr.tracking.connection import import_mlflow

    import_mlflow()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of a fresh MLflow store."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def mlflow_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server, as several machines share one."""
    home = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, home / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--serve-artifacts"),
        *("--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(home / "a")),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=home, start_new_session=True, env=environment
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, home / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow's server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(params=["in memory", "mlflow"])
def tracking(request: pytest.FixtureRequest) -> object:
    if request.param == "in memory":
        return InMemoryTracking()
    return open_tracking(request.getfixturevalue("store"))


@pytest.fixture
def make_release(tmp_path: Path) -> MakeRelease:
    """Writes as much of a release as a registry looks at."""

    def make(release_id: str) -> Path:
        encoder = tmp_path / "releases" / release_id / "query_encoder"
        encoder.mkdir(parents=True)
        (encoder / "encoder.json").write_text(json.dumps({"dim": 4}))
        (encoder / "encoder.onnx").write_bytes(b"onnx")
        return encoder.parent

    return make
