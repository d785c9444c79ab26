"""Outputs appear whole or not at all: written under a temporary name, renamed when whole."""

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from mmr.errors import ArtifactError

LEFTOVER_AGE_S = 3600
PARTIAL = re.compile(r"^\..*\.partial-(?:(\d+)-[0-9a-f]{8}$)?")


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def fsync_path(path: Path) -> None:
    """Flushes a file or directory to disk, so that a rename after it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields an empty scratch directory that becomes `path` when the block ends without an error.

    On an error the scratch directory is removed and `path` is as it was. What a killed process left
    of an earlier attempt at the same `path` is removed first, once it is certain that nobody is at
    it.

    Args:
        path: The directory to create. Its parent is created if need be.
        replace: Whether an existing `path` may be replaced. An *empty* directory may always be.

    Raises:
        ArtifactError: `path` exists and may not be replaced.
    """
    if path.exists() and not replace and not (path.is_dir() and not any(path.iterdir())):
        raise ArtifactError(f"{path} exists already. Choose another place, or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    scratch = _partial_name(path)
    scratch.mkdir()
    try:
        yield scratch
        fsync_path(scratch)
        if path.is_dir() and any(path.iterdir()):
            _swap(scratch, path)
        else:
            scratch.rename(path)  # rename(2) replaces an empty directory
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    fsync_path(path.parent)


def is_abandoned(path: Path) -> bool:
    """Whether an output under a temporary name has no writer any more, and will never be renamed.

    Its process is gone, and nothing in it was written for an hour: on a shared disk a process of
    another machine may be its writer, whom this machine does not see.
    """
    match = PARTIAL.match(path.name)
    if match is None or (match[1] and Path("/proc", match[1]).exists()):
        return False  # another process may have the number by now; better one leftover too many
    try:
        newest = max(inner.lstat().st_mtime for inner in (path, *path.rglob("*")))
    except FileNotFoundError:  # it was renamed or removed just now: somebody is at work
        return False
    return time.time() - newest > LEFTOVER_AGE_S


def _remove_leftovers(path: Path) -> None:
    """Removes abandoned attempts at a path; they are hidden beside it."""
    prefix = f".{path.name}.partial-"
    for other in path.parent.iterdir():
        if other.name.startswith(prefix) and is_abandoned(other):
            shutil.rmtree(other, ignore_errors=True)


def _swap(scratch: Path, path: Path) -> None:
    retired = _partial_name(path)
    path.rename(retired)
    scratch.rename(path)
    shutil.rmtree(retired, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Removes a directory so that nobody ever sees half of it: renamed first, then deleted.

    A process killed in between leaves a hidden `.NAME.partial-…`, which is nobody's result.
    """
    retired = _partial_name(path)
    path.rename(retired)
    fsync_path(path.parent)
    shutil.rmtree(retired)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a scratch path; the file written there becomes `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _partial_name(path)
    try:
        yield scratch
        fsync_path(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def make_once(path: Path, make: Callable[[], object]) -> None:
    """Makes a kept result unless it is there; of several processes one does, the others wait.

    Args:
        path: The file or directory that `make` writes, whole.
        make: Writes it.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            make()


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with new_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file (indented, keys in the given order) whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
