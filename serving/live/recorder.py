"""Writes the three logs of a model process in one thread, off the queries' path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmr.errors import ServingError
from serving.live.background import Background
from serving.live.jsonl_log import JsonlLog
from serving.live.places import LivePlaces
from serving.live.query_text import QueryRecorder, read_salt
from serving.live.switches import Switches, Warn

Lines = Callable[[QueryRecorder], Iterable[dict[str, Any]]]
"""Makes the records of one event; called in the recorder's thread."""

_ROOM = 4096
_CLOSE_S = 2.0


class Recorder:
    """Takes events from any thread; loses them rather than keep a query waiting.

    Args:
        places: Where the logs lie.
        switches: Says what is logged; its view is kept fresh by the recorder's thread.
        warn: Told once about each kind of failure to write.
    """

    def __init__(self, places: LivePlaces, switches: Switches, warn: Warn) -> None:
        self._places, self._switches, self._warn = places, switches, warn
        self._logs: dict[Path, JsonlLog] = {}
        self._failures: set[str] = set()
        self._background: Background[tuple[Path, Lines]] = Background(
            self._write, room=_ROOM, linger_s=0.5, tick=switches.refresh
        )

    def put(self, log: Path, lines: Lines) -> None:
        """Never waits; `lines` is called later."""
        self._background.put((log, lines))

    def close(self) -> None:
        """Writes what waits and closes the files."""
        self._background.close(within_s=_CLOSE_S)
        for log in self._logs.values():
            self._guarded(log.close)

    def _write(self, events: list[tuple[Path, Lines]]) -> None:
        settings = self._switches.now.query_log
        for directory in dict.fromkeys(log for log, _ in events):
            log = self._logs.setdefault(directory, JsonlLog(directory, settings.limits))
            log.limits = settings.limits
            chosen = [lines for place, lines in events if place == directory]
            self._guarded(lambda log=log, chosen=chosen: self._append(log, chosen))  # type: ignore[misc]

    def _append(self, log: JsonlLog, events: list[Lines]) -> None:
        queries = QueryRecorder(
            self._switches.now.query_log.query, read_salt(self._places.query_log)
        )
        log.write(record for lines in events for record in lines(queries))

    def _guarded(self, write: Callable[[], None]) -> None:
        """A full disk or a directory without rights must not end the thread, let alone a query."""
        try:
            write()
        except (OSError, ServingError) as error:
            kind = f"{type(error).__name__}: {error}"
            if kind not in self._failures and len(self._failures) < _ROOM:
                self._failures.add(kind)
                self._warn(f"A log of the live model cannot be written: {kind}")
