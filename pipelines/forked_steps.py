"""Steps of a local run forked off a process that has imported their libraries already.

`kfp.local` starts a Python for each step, and each imports MLflow, PyTorch or Great Expectations
anew: more than half the time of a step with little to do. While this module's block runs, a server
(`pipelines.step_server`) imports them once, beside the first steps, which start as ever; those that
come after it is ready are forked off it.

Where that cannot be (no Linux, a GPU, a server that ended), steps start as `kfp.local` starts them.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from pipelines.step_server import READY

_FUNCTION, _INPUT = "--function_to_execute", "--executor_input"
_STOP_S = 10

RunStep = Callable[[list[str], dict[str, str] | None], int]


@contextmanager
def forked_steps(log: TextIO) -> Iterator[StepServer | None]:
    """While the block runs, `kfp.local` forks its steps off a prepared process.

    Args:
        log: A file; receives what the server says.

    Yields:
        The server; None where forking is not safe.
    """
    from kfp.local import subprocess_task_handler as handler

    if not sys.platform.startswith("linux"):  # elsewhere system libraries do not survive a fork
        yield None
        return
    start: RunStep = handler.run_local_subprocess
    server = StepServer(log)
    handler.run_local_subprocess = partial(_run_step, server, start)
    try:
        yield server
    finally:
        handler.run_local_subprocess = start
        server.stop()


def _run_step(
    server: StepServer,
    start: RunStep,
    full_command: list[str],
    env_vars: dict[str, str] | None = None,
) -> int:
    """Stands in for `run_local_subprocess` of kfp: prints a step's output, returns its status."""
    if not server.is_ready():
        return start(full_command, env_vars)
    with tempfile.TemporaryDirectory(prefix="mmr-step-") as scratch:
        request = _write_request(Path(scratch), full_command, env_vars or {})
        status = server.run(request)
    print("\n")  # as kfp does: the follower tells a step's end by the line drawn next
    return status


def _write_request(
    scratch: Path, full_command: Sequence[str], environment: Mapping[str, str]
) -> Path:
    """What is in `sh -c SCRIPT SOURCE --executor_input … --function_to_execute …`, in files."""
    executor_input = full_command[full_command.index(_INPUT) + 1]
    name = full_command[full_command.index(_FUNCTION) + 1]
    source = scratch / f"{name}_step.py"
    source.write_text(
        next(part for part in full_command if f"def {name}(" in part), encoding="utf-8"
    )
    arguments = ["--component_module_path", str(source), _INPUT, executor_input, _FUNCTION, name]
    request = scratch / "request.json"
    request.write_text(
        json.dumps({"arguments": arguments, "environment": dict(environment)}), encoding="utf-8"
    )
    return request


class StepServer:
    """A process of `pipelines.step_server`, and the socket to it.

    Args:
        log: Receives what it says.

    Attributes:
        pid: Of the process.
    """

    def __init__(self, log: TextIO) -> None:
        self._control, inherited = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inherited:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.step_server", str(inherited.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
                env={**os.environ, "_KFP_RUNTIME": "true"},  # kfp's own word: import no client
                pass_fds=[inherited.fileno()],
            )
        self.pid = self._process.pid
        self._ready = False

    def is_ready(self) -> bool:
        """Whether it has imported everything, and lives; never waits."""
        readable, _, _ = select.select([self._control], [], [], 0)
        if readable:
            self._ready = self._receive() == READY
        return self._ready

    def run(self, request: Path) -> int:
        """Forks a step, prints what it prints, and returns its exit status; below 0 a signal."""
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._control, [str(request).encode()], [writing])
        finally:
            os.close(writing)
        try:
            with open(reading, encoding="utf-8", errors="replace") as output:
                for line in output:
                    print(line, end="")
        finally:  # the follower may have raised: the step ends when nobody reads it
            answer = self._receive()
        self._ready = bool(answer)
        return int(answer) if answer else -1

    def stop(self) -> None:
        """Ends the process."""
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> bytes:
        with suppress(ConnectionError):
            return self._control.recv(64)
        return b""
