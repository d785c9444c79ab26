"""Batches made ahead in threads, so that the cores or the accelerator need not wait for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Batch = TypeVar("Batch")

AHEAD = 2  # batches under way while a step is computed; each is made by a thread of its own


class BatchFeed(Generic[Batch]):
    """Hands out the batches of consecutive steps and makes the next ones meanwhile.

    A batch depends on its step alone, so those made ahead are the very ones that would have been
    made on demand, in whatever order the threads finish. Use it in a `with` block, which ends its
    threads.

    Args:
        make: Makes the batch of a step. Runs in threads: it reads what is fixed while the loop
            runs, and draws from generators of its own, never from torch's global one.
        end: The first step that is never asked for; no batch is made beyond it.

    Attributes:
        waited_s: Seconds that `take` has waited for batches, all in all.
    """

    def __init__(self, make: Callable[[int], Batch], *, end: int) -> None:
        self._make, self._end = make, end
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="batch")
        self._pending: dict[int, Future[Batch]] = {}
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, step: int) -> Batch:
        """The batch of a step, waited for if need be. An error in making it is raised here."""
        start = time.perf_counter()
        for coming in range(step, min(step + AHEAD + 1, self._end)):
            if coming not in self._pending:
                self._pending[coming] = self._pool.submit(self._make, coming)
        batch = self._pending.pop(step).result()
        self.waited_s += time.perf_counter() - start
        return batch
