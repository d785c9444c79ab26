"""The record of the running server, and stopping it: by pid, and only if the pid is still ours."""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmr.atomic import write_json
from mmr.errors import ServingError

_POLL_S = 0.05
KEY_HEADER = "mmr-key"


@dataclass(frozen=True)
class RunningServer:
    """One Triton process.

    Attributes:
        pid: Its process id, also the id of its process group.
        started_ticks: Kernel's start time of the process; tells it from a later owner of the pid.
        host: The address that it binds.
        http_port: For `protocol="http"`.
        grpc_port: For `protocol="grpc"`.
        metrics_port: Prometheus text under `/metrics`.
        key: What a request for something that is closed must carry in the header `KEY_HEADER`;
            empty for a server of an older mmr, which closes nothing.
    """

    pid: int
    started_ticks: int
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    key: str = field(default="", repr=False)

    @property
    def grpc_url(self) -> str:
        """For clients that speak gRPC."""
        return f"{_reachable(self.host)}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """For clients that speak HTTP."""
        return f"{_reachable(self.host)}:{self.http_port}"

    def is_alive(self) -> bool:
        """Whether this very process still runs (and is not merely waiting to be reaped)."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # reaps it if it was started by this process
        return start_ticks(self.pid) == self.started_ticks


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def start_ticks(pid: int) -> int | None:
    """When a process was started, in kernel ticks; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class ServerRecord:
    """The pid file of a workspace's server.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self._path = serving / "triton.json"

    def running(self) -> RunningServer | None:
        """The server, if it is running; a stale record is no server.

        Raises:
            ServingError: The record cannot be read.
        """
        if not self._path.is_file():
            return None
        try:
            server = RunningServer(**json.loads(self._path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ServingError(
                f"{self._path} is damaged, so the server cannot be found. Stop tritonserver by "
                "hand if one runs, then remove that file."
            ) from error
        return server if server.is_alive() else None

    def write(self, server: RunningServer) -> None:
        """Remembers the server."""
        write_json(self._path, asdict(server))

    def remove(self) -> None:
        """Forgets the server."""
        self._path.unlink(missing_ok=True)


def stop(server: RunningServer, *, grace_s: float) -> None:
    """Ends the server: requests under way may finish for `grace_s` seconds, then it is killed.

    Raises:
        ServingError: It belongs to another user, or survives.
    """
    if not server.is_alive():
        return
    try:
        os.kill(server.pid, signal.SIGTERM)
        if not _ended(server, within_s=grace_s):
            os.killpg(server.pid, signal.SIGKILL)  # the model processes are in its group
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise ServingError(
            f"Triton (pid {server.pid}) belongs to another user. Stop it as that user."
        ) from error
    if not _ended(server, within_s=5):
        raise ServingError(f"Triton (pid {server.pid}) does not end. Look at it with `ps`.")


def end_orphans(stub: Path) -> None:
    """Kills the model processes whose server, the leader of their process group, is gone.

    One that dies while it loads a model leaves the processes of that model waiting for it for ever.

    Args:
        stub: The executable of the workspace's model processes.
    """
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to another user
            if entry.name.isdigit() and _executable(entry) == str(stub):
                pid = int(entry.name)
                if start_ticks(os.getpgid(pid)) is None:
                    os.kill(pid, signal.SIGKILL)


def _executable(process: Path) -> str:
    return (process / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")


def _ended(server: RunningServer, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while server.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
