"""Breaks a command at a chosen write; the product holds no hook for it.

A write is whatever changes the world outside the process: a file opened for writing, renamed,
linked or removed and a directory made or removed (told by Python's audit events, so none is
missed), a commit of the tracking store, and what a test double adds. A command that runs
undisturbed lists its writes; run again, it is broken just before the one of a given number.

It runs in a fresh process, forked off a server that has imported the libraries already, so that a
kill is a real one and costs little.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from mmr.errors import MmrError
from tests.faults.writes import PATH_EVENTS, boundaries, written_path

_PRELOADED = ["tests.faults.preload"]
_TIMEOUT_S = 240.0
_REAPING = threading.Lock()


class Fault(StrEnum):
    """What happens at the chosen write."""

    NONE = "none"
    KILL = "kill"  # SIGKILL, before the write
    FULL_DISK = "full disk"  # the write fails for lack of space; a new file takes no byte


@dataclass(frozen=True)
class InStep:
    """A place within a pipeline's step, where commands of different length can be broken alike.

    Attributes:
        step: The step's name.
        write: The number of a write in it: 0 is its start. A step that ends before is broken at its
            end, so that no run gets any further.
    """

    step: str
    write: int


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        killed: Whether it died of SIGKILL; beside the place, nothing else is known then.
        last: The write that it was killed before.
        value: What it returned.
        error: The message of its `MmrError` or `OSError`, or None.
        writes: Its writes in order.
    """

    killed: bool
    last: str | None = None
    value: Any = None
    error: str | None = None
    writes: tuple[str, ...] = ()


class Injector:
    """The writes of this process below one directory; there is one at a time."""

    current: Injector | None = None

    def __init__(
        self, root: Path, fault: Fault, at: int | InStep, last: Path | None = None
    ) -> None:
        self.writes: list[str] = []
        self._root, self._fault, self._at = f"{root}/", fault, at
        self._last = last
        self._step_began: int | None = None
        self._busy = False

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python for every event; looks at those that write below the directory."""
        if self._busy or (event != "open" and event not in PATH_EVENTS):
            return
        self._busy = True
        try:
            path = written_path(event, args)
            if path is None or not path.startswith(self._root) or path.endswith(".lock"):
                return
            if event != "os.mkdir" or not os.path.isdir(path):
                self._reach(f"{event} {path.removeprefix(self._root)}", path)
        finally:
            self._busy = False

    def _reach(self, what: str, path: str | None = None) -> None:
        self.writes.append(what)
        if self._fault is Fault.NONE or not self._is_there(what):
            return
        if self._fault is Fault.KILL:
            if self._last is not None:
                self._last.write_text(what, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith("open ") and path and not os.path.lexists(path):
            os.symlink("/dev/full", path)  # opens, and takes no byte
            return
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _is_there(self, what: str) -> bool:
        number = len(self.writes) - 1
        if not isinstance(self._at, InStep):
            return number == self._at
        if what == f"start {self._at.step}":
            self._step_began = number
        if self._step_began is None:
            return False
        return number - self._step_began == self._at.write or what == f"end {self._at.step}"

    def reach(self, what: str) -> None:
        """For writes that are no files: a commit, a call to a server."""
        self._reach(what)


def reach(what: str) -> None:
    """Tells the injector of this process, if there is one, of a write that is no file."""
    if Injector.current is not None:
        Injector.current.reach(what)


def run(
    command: Callable[..., Any],
    *arguments: Any,
    root: Path,
    fault: Fault = Fault.NONE,
    at: int | InStep = -1,
) -> Outcome:
    """Runs a command in a process of its own.

    Args:
        command: A function of a module; what it returns must fit into JSON.
        arguments: For the command.
        root: Writes below it count.
        fault: What happens at the chosen write.
        at: The number of that write, from 0, or where it lies in a pipeline.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        process = context.Process(
            target=_child, args=(command, arguments, root.resolve(), fault, at, result)
        )
        exitcode = _exitcode_of(process)
        if exitcode is None:
            raise TimeoutError(f"{command.__name__}{arguments} hung for {_TIMEOUT_S:.0f} s")
        if exitcode == -signal.SIGKILL:
            return Outcome(killed=True, last=_read(scratch, "last"))
        if exitcode != 0:
            said = _read(scratch, "last")
            raise RuntimeError(f"{command.__name__}{arguments} crashed, status {exitcode}: {said}")
        record = json.loads(result.read_text(encoding="utf-8"))
        return Outcome(
            killed=False,
            value=record["value"],
            error=record["error"],
            writes=tuple(record["writes"]),
        )


def _exitcode_of(process: ForkServerProcess) -> int | None:
    """Starts a process and waits for its end; None if it had to be ended.

    Any thread that starts a process looks after all that have ended, and the status of one can be
    read but once: without the lock, two threads at it take each other's for a crash.
    """
    with _REAPING:
        process.start()
    ended = connection.wait([process.sentinel], _TIMEOUT_S)  # reads nothing
    with _REAPING:
        if not ended:
            process.kill()
        process.join()
        return process.exitcode if ended else None


def _read(directory: str, name: str) -> str:
    path = Path(directory) / name
    return path.read_text(encoding="utf-8") if path.is_file() else "without a word"


def _child(
    command: Callable[..., Any],
    arguments: tuple[Any, ...],
    root: Path,
    fault: Fault,
    at: int | InStep,
    result: Path,
) -> None:
    os.environ["TMPDIR"] = str(result.parent)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    injector = Injector.current = Injector(root, fault, at, result.with_name("last"))
    sys.addaudithook(_audit)
    _listen_to_commits()
    value, error = None, None
    try:
        value = command(*arguments)
    except (MmrError, OSError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    except BaseException:
        Injector.current = None
        result.with_name("last").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    Injector.current = None
    record = {"value": value, "error": error, "writes": list(injector.writes)}
    result.write_text(json.dumps(record), encoding="utf-8")


def sweep(command: Callable[[Path], Any], place: Path, fault: Fault) -> list[dict[str, Any]]:
    """Runs a command that survives the fault, broken at each write in turn, then whole.

    For use within `run`, where starting a process for every write would cost too much.

    Args:
        command: Takes a directory of its own.
        place: Where these directories are made.
        fault: Not a kill.

    Returns:
        For each write: which, the error, the files left below the directory, and the error of
        running it again.
    """
    _attempt(command, place / "whole", Fault.NONE, -1)
    assert Injector.current is not None
    writes = Injector.current.writes
    told = []
    for at in boundaries(writes):
        if writes[at].startswith(("os.remove ", "os.rmdir ")):
            continue  # needs no space
        own = place / str(at)
        error = _attempt(command, own, fault, at)
        left = [str(path.relative_to(own)) for path in own.rglob("*")]
        again = _attempt(command, own, Fault.NONE, -1)
        told.append({"write": writes[at], "error": error, "left": sorted(left), "again": again})
    return told


def _attempt(command: Callable[[Path], Any], place: Path, fault: Fault, at: int) -> str | None:
    place.mkdir(exist_ok=True)
    Injector.current = Injector(place, fault, at)
    try:
        command(place)
    except (MmrError, OSError) as caught:
        return f"{type(caught).__name__}: {caught}"
    return None


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if Injector.current is not None:
        Injector.current.audit(event, args)


def _listen_to_commits() -> None:
    """Counts the commits that change the tracking store, not those that end a reading."""
    from sqlalchemy import Engine, event

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            connection.info.setdefault("written", []).append(" ".join(statement.split()[:3]))

    def commit(connection: Any) -> None:
        written = connection.info.pop("written", [])
        if written:
            reach(f"commit {written[-1]}")

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", commit)
