"""What a load balancer sees of a real Triton while a release is deployed."""

import http.client
import threading
import time
from pathlib import Path

from mmr.workspace import Workspace
from serving import launcher
from serving.deploy import deploy
from serving.process import RunningServer
from serving.settings import ServeSettings
from tests.serving.deployments import new_registry
from tests.serving.patience import PATIENT


class Probes:
    """Asks for health as often as it can while the block runs."""

    def __init__(self, server: RunningServer) -> None:
        self.statuses: list[int] = []
        self._server, self._done = server, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Probes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._server.http_url, timeout=30)
        while not self._done.is_set():
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)
            time.sleep(0.01)
        connection.close()


def test_server_stays_ready_while_a_candidate_loads_and_unloads(
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    release_b: Path,
) -> None:
    registry = new_registry(release_a, release_b)
    server = launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
    deploy(release_a, workspace=workspace, registry=registry, settings=PATIENT)

    with Probes(server) as probes:
        deploy(release_b, workspace=workspace, registry=registry, settings=PATIENT)
        time.sleep(2)  # the candidate's processes end meanwhile

    assert len(probes.statuses) > 50
    assert set(probes.statuses) == {200}
