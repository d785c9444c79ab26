"""The local server: its record, its ports, and what a killed deployment left in its repository."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving import launcher
from serving.deploy_lock import deploy_lock
from serving.doctor.finding import Finding, Level
from serving.doctor.trial import check_trial
from serving.model_config import CANDIDATE_SUFFIX, MODELS
from serving.process import RunningServer, ServerRecord
from serving.repository import ModelRepository
from serving.settings import ServeSettings

_AREA = "serving"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_server(workspace: Workspace, *, serve: ServeSettings) -> Iterator[Finding]:
    """Looks at the process and at the model repository.

    Args:
        workspace: Whose server it is.
        serve: The ports that a start would use.
    """
    record = ServerRecord(workspace.serving)
    try:
        server = record.running()
    except ServingError as error:
        yield Finding(_AREA, Level.ERROR, str(error), "Follow the message, then look again.")
        return
    if server is not None:
        yield from _running(workspace, server)
    else:
        if (workspace.serving / "triton.json").is_file():
            yield _stale(record)
        yield from _stopped(workspace, serve)
    yield from check_trial(workspace, server)


def _running(workspace: Workspace, server: RunningServer) -> Iterator[Finding]:
    status = launcher.status(workspace)
    said = f"Triton runs (pid {server.pid}), gRPC {server.grpc_url}, HTTP {server.http_url}"
    if status.active and not status.answering:
        yield Finding(
            _AREA,
            Level.ERROR,
            f"{said}, but no release answers",
            f"Look at {workspace.serving / 'triton.log'}; `mmr deploy champion` loads it again.",
        )
    else:
        yield Finding(_AREA, Level.OK, said)
    if server.host not in _LOOPBACK:
        yield Finding(
            _AREA,
            Level.WARNING,
            f"Triton binds {server.host}: whoever reaches it may load and unload models",
            "Bind it to loopback (`mmr serve --stop`, then `mmr serve`), or shield its ports.",
        )


def _stale(record: ServerRecord) -> Finding:
    def repair() -> str:
        record.remove()
        return "removed the record of a server that has ended"

    return Finding(
        _AREA,
        Level.WARNING,
        "triton.json names a server that has ended (killed, or the machine was restarted)",
        "`mmr serve` starts it again; `mmr doctor --repair` removes the record.",
        repair,
    )


def _stopped(workspace: Workspace, serve: ServeSettings) -> Iterator[Finding]:
    active = ModelRepository(workspace.serving).active()
    would = f"`mmr serve` would load release {active.release_id}" if active else "nothing deployed"
    yield Finding(_AREA, Level.OK, f"Triton does not run; {would}")
    taken = [
        port for port in (serve.http_port, serve.grpc_port, serve.metrics_port) if _taken(port)
    ]
    if taken:
        yield Finding(
            _AREA,
            Level.WARNING,
            f"ports {', '.join(map(str, taken))}, which `mmr serve` uses, are taken",
            "Stop the program that holds them, or choose others: `mmr serve --port-base 8100`.",
        )


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def check_leftovers(workspace: Workspace) -> Iterator[Finding]:
    """Looks for versions that a killed deployment left.

    To be repaired after `check_agreement`: such a version may be the registry's champion, whose
    switch was cut short, and only has to be switched to.
    """
    try:
        runs = ServerRecord(workspace.serving).running() is not None
    except ServingError:
        return  # `check_server` tells
    repository = ModelRepository(workspace.serving)
    if not repository.path.is_dir():
        return
    try:
        with deploy_lock(workspace):
            found = [f"version {number}, never switched to" for number in repository.unactivated()]
            found += [
                f"{model}{CANDIDATE_SUFFIX}"
                for model in MODELS
                if repository.versions(model + CANDIDATE_SUFFIX)
            ]
    except ServingError:
        yield Finding(_AREA, Level.OK, "a deployment is under way")
        return
    if not found:
        return

    def repair() -> str:
        with deploy_lock(workspace):
            repository.remove_leftovers()
        return "removed what a killed deployment left"

    cure = "`mmr deploy champion` clears it away" if runs else "`mmr doctor --repair` removes it"
    yield Finding(
        _AREA,
        Level.WARNING,
        f"a killed deployment left {', '.join(found)}",
        f"{cure}; so does any next deployment.",
        None if runs else repair,
    )
