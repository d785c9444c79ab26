"""Unloads the versions before the one that serves when the time for a quick rollback is over."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.deploy_lock import deploy_lock
from serving.live.switches import Warn
from serving.process import KEY_HEADER, RunningServer, ServerRecord
from serving.repository import ModelRepository

_POLL_S = 1.0
_LOAD_TIMEOUT_S = 60.0


class WarmthKeeper:
    """Watches the clock in a thread of the live model process, so that no other process need run.

    Args:
        serving: `Workspace.serving`.
        version: The version of this process; it acts only while that one is active.
        warn: For the server's log.
    """

    def __init__(self, serving: Path, *, version: int, warn: Warn) -> None:
        self._serving, self._version, self._warn = serving, version, warn
        self._repository = ModelRepository(serving)
        self._stop = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Ends the thread, at the latest when what it does now is done."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_POLL_S):
            try:
                self._look()
            except (ServingError, OSError, http.client.HTTPException) as error:
                self._warn(f"Versions kept for a rollback could not be unloaded yet: {error}")
                self._stop.wait(30 * _POLL_S)

    def _look(self) -> None:
        until = self._repository.kept.warm_until()
        if until is None or time.time() < until:
            return
        active = self._repository.active()
        server = ServerRecord(self._serving).running()
        if server is None or active is None or active.version != self._version:
            return
        with deploy_lock(Workspace(self._serving.parent)):
            self._repository.cool_down(lambda model: _load(server, model))


def _load(server: RunningServer, model: str) -> None:
    """Asks Triton over HTTP: its Python backend is no place for tritonclient."""
    connection = http.client.HTTPConnection(server.http_url, timeout=_LOAD_TIMEOUT_S)
    try:
        path, headers = f"/v2/repository/models/{model}/load", {KEY_HEADER: server.key}
        connection.request("POST", path, body="{}", headers=headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise ServingError(f"Triton did not load {model}: {answer.read(500)!r}")
    finally:
        connection.close()
