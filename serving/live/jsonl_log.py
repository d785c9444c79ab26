"""Lines of JSON in files that are closed by size and day, and deleted by age and total size.

A file that is being written ends in `.jsonl.open`; when it is closed, one rename makes it
`.jsonl`, and it never changes again. Its name starts with the UTC time at which it was opened.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from serving.live.settings import LogLimits

_CLOSED, _OPEN = ".jsonl", ".jsonl.open"
_MEGABYTE = 1_000_000
_DAY_S = 86_400


class JsonlLog:
    """One writer's files in a directory that several processes may share.

    Args:
        directory: Made when the first line is written.
        limits: When files are closed and deleted.
    """

    def __init__(self, directory: Path, limits: LogLimits) -> None:
        self.limits = limits
        self._directory = directory
        self._file: BinaryIO | None = None
        self._path = directory
        self._day = ""

    def write(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Appends records in one write, so that a reader sees whole lines, and flushes them.

        Raises:
            OSError: The disk is full or the directory cannot be written; nothing is kept of these
                records then but perhaps the beginning of a line, which readers pass over.
        """
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        if not lines:
            return
        file = self._opened()
        file.write(lines.encode())
        if file.tell() >= self.limits.max_file_mb * _MEGABYTE:
            self.close()

    def close(self) -> None:
        """Closes the file that is being written; a later record opens another."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self._path.rename(self._path.with_suffix(""))
        self._delete_old()

    def _opened(self) -> BinaryIO:
        now = datetime.now(UTC)
        if self._file is not None and f"{now:%Y%m%d}" != self._day:
            self.close()
        if self._file is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._day = f"{now:%Y%m%d}"
            name = f"{now:%Y%m%dT%H%M%S%f}-{os.getpid()}{_OPEN}"
            self._path = self._directory / name
            self._file = self._path.open("ab", buffering=0)
        return self._file

    def _delete_old(self) -> None:
        """Files of killed writers stay `.open`; they are deleted by age alone."""
        oldest = time.time() - self.limits.keep_days * _DAY_S
        room = self.limits.max_total_mb * _MEGABYTE
        for path in reversed(_files(self._directory)):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another writer was faster
            is_closed = path.name.endswith(_CLOSED)
            room -= status.st_size if is_closed else 0
            if status.st_mtime < oldest or (is_closed and room < 0):
                path.unlink(missing_ok=True)


class LogLine(NamedTuple):
    """A line of a log, as it stands there.

    Attributes:
        file: Name of the file.
        number: From 1.
        data: The line with its end; without one, it was cut short or is being written.
        growing: Whether the file was being written.
    """

    file: str
    number: int
    data: bytes
    growing: bool


def read_lines(directory: Path) -> Iterator[LogLine]:
    """The lines of all files, closed or not, file by file in the order of their opening."""
    for path in _files(directory):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # closed under our eyes: it has another name now
            path = path.with_suffix("")
            if not path.is_file():
                continue
            file = path.open("rb")
        growing = path.name.endswith(_OPEN)
        with file:
            for number, data in enumerate(file, start=1):
                yield LogLine(path.name, number, data, growing)


def read_log(directory: Path) -> Iterator[dict[str, Any]]:
    """The records of all lines of `read_lines`.

    A line that is not whole, as a killed writer or a full disk leaves it, is passed over.
    """
    yield from filter(None, (_parse(line.data) for line in read_lines(directory)))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.name.endswith((_CLOSED, _OPEN)))
