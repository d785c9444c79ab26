"""A real MLflow server on a free port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def serving_mlflow(home: Path) -> Iterator[str]:
    """Its address while the block runs.

    Args:
        home: Where its store `mlflow.db` and its artifacts lie.
    """
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
