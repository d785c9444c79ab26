"""Work that must not keep a query waiting: a bounded queue and one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Job = TypeVar("_Job")
_LINGER_S = 0.5  # so that many records share one write
_BATCH = 256


class Background(Generic[_Job]):
    """Hands jobs to one thread; drops them when it cannot keep up.

    Args:
        work: Called with the jobs that have gathered, one at least. It must not raise.
        room: Jobs that may wait.
        linger_s: Seconds to gather jobs before each call; 0 hands them on at once.
        tick: Called twice a second, also when there is nothing to do. It must not raise.
    """

    def __init__(
        self,
        work: Callable[[list[_Job]], None],
        *,
        room: int,
        linger_s: float = 0.0,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self._work, self._linger_s, self._tick = work, linger_s, tick
        self._jobs: queue.Queue[_Job] = queue.Queue(room)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.dropped = 0

    def put(self, job: _Job) -> None:
        """Never waits."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.dropped += 1

    def close(self, *, within_s: float) -> None:
        """Finishes what waits, if that takes no longer."""
        self._stop.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._step(wait_s=_LINGER_S)
        while not self._jobs.empty():
            self._step(wait_s=0)

    def _step(self, *, wait_s: float) -> None:
        if self._tick:
            self._tick()
        try:
            first = self._jobs.get(timeout=wait_s) if wait_s else self._jobs.get_nowait()
        except queue.Empty:
            return
        self._stop.wait(self._linger_s)
        jobs = [first]
        while len(jobs) < _BATCH and not self._jobs.empty():
            jobs.append(self._jobs.get_nowait())
        self._work(jobs)
