"""What counts as a write: told by Python's audit events, so that none is missed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PATH_EVENTS = {
    "os.mkdir": (0, 2),
    "os.rmdir": (0, 1),
    "os.remove": (0, 1),
    "os.rename": (1, 3),
    "os.link": (1, 3),
    "os.symlink": (1, 2),
}
"""Audit event to the places of its path and of the directory that the path is relative to."""
_HIDDEN = re.compile(r"staging/|\.partial-")


def written_path(event: str, args: tuple[Any, ...]) -> str | None:
    """The path that an audit event is about to write to, or None if it writes nowhere."""
    if event == "open":
        path, _, flags = args
        if not isinstance(flags, int) or not flags & _WRITING:
            return None
        return _absolute(path, None)
    at, relative_to = PATH_EVENTS[event]
    return _absolute(args[at], args[relative_to])


def _absolute(path: Any, directory: Any) -> str | None:
    if isinstance(path, int):
        return None
    with suppress(TypeError, OSError):
        name = os.fsdecode(path)
        if isinstance(directory, int) and directory >= 0:
            return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
        return os.path.abspath(name)
    return None


def boundaries(writes: Sequence[str]) -> Iterator[int]:
    """The numbers of the writes to break a command at.

    All of them, but of several in a row that are out of everyone's sight (staged, or under a
    temporary name) the first, the middle one and the last.
    """
    hidden: list[int] = []
    for number, what in enumerate([*writes, ""]):
        if what and _HIDDEN.search(what):
            hidden.append(number)
            continue
        yield from sorted({hidden[0], hidden[len(hidden) // 2], hidden[-1]} if hidden else ())
        hidden = []
        if what:
            yield number
