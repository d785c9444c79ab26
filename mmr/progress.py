"""Progress bars for long work: a live bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG_EVERY_S = 15.0


class Bar(Protocol):
    """What long work calls as it goes on."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` more as done; `note` (say, the loss) is shown beside the bar."""


@contextmanager
def progress_bar(description: str, total: int | None, *, show: bool = True) -> Iterator[Bar]:
    """Shows the progress of one long piece of work on stderr, unless `show` is off.

    A terminal that says it is `dumb` gets lines, as a log does.
    """
    if not show:
        yield _NoBar()
    elif sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        ) as progress:
            yield _TerminalBar(progress, description, total)
    else:
        bar = _LogBar(description, total)
        yield bar
        bar.finish()


class _NoBar:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Another process shows the progress."""


class _TerminalBar:
    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=steps, note=note)


class _LogBar:
    def __init__(self, description: str, total: int | None) -> None:
        self._description, self._total = description, total
        self._done, self._note = 0, ""
        self._start = self._last_log = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        self._note = note or self._note
        if time.monotonic() - self._last_log >= _LOG_EVERY_S:
            self._last_log = time.monotonic()
            self._print()

    def finish(self) -> None:
        self._print()

    def _print(self) -> None:
        of_total = f"/{self._total}" if self._total else ""
        seconds = time.monotonic() - self._start
        text = f"{self._description}: {self._done}{of_total}, {seconds:.0f} s {self._note}"
        print(text.rstrip(), file=sys.stderr, flush=True)
