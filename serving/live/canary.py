"""A share of the traffic answered by the candidate; the live release stands in when it fails.

A request goes to the candidate as a whole or not at all: encoder and index of an answer are of one
release. Whatever the candidate does, the sender gets an answer, at the latest after the timeout and
the time of a live answer; requests that the live release answers never wait for it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from serving.live.budget import BudgetWindow
from serving.live.candidate import AskCandidate
from serving.live.places import LivePlaces
from serving.live.query_log import timestamp
from serving.live.recorder import Recorder
from serving.live.settings import Trial
from serving.live.switches import Switches
from serving.models.engine import Answer, Question

AT_ONCE = 16
"""Requests with the candidate at a time; the live release answers the others."""

Done = Callable[[Answer | None, float], None]
"""Called once: with the candidate's answer, or None where the live one must answer; and with the
milliseconds that this took."""


def falls_to_candidate(trial: Trial, key: str) -> bool:
    """Whether a key (a customer, or else the query) is in the canary's share.

    The same key always falls the same way for one candidate, and stays when the share is widened.
    """
    digest = hashlib.sha256(f"{trial.release_id}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < trial.canary_share


class Canary:
    """Sends requests to the candidate and watches what they cost.

    Args:
        ask: Reaches the candidate.
        places: Where the log lies.
        switches: Ends the trial when it costs too much.
        recorder: Writes the log.
    """

    def __init__(
        self, ask: AskCandidate, places: LivePlaces, switches: Switches, recorder: Recorder
    ) -> None:
        self._ask, self._switches, self._recorder = ask, switches, recorder
        self._log = places.canary_log
        self._callers = ThreadPoolExecutor(AT_ONCE, "canary-call")
        self._waiters = ThreadPoolExecutor(AT_ONCE, "canary-wait")
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._watched: tuple[str, BudgetWindow] | None = None
        self._watching = threading.Lock()

    def reserve(self) -> bool:
        """Claims a slot for `take`; False if it is too busy.

        A candidate that hangs keeps its slots, so that it cannot gather threads.
        """
        return self._slots.acquire(blocking=False)

    def take(self, question: Question, trial: Trial, done: Done) -> None:
        """Takes a request on, after `reserve`, and calls `done` from another thread."""
        call = self._callers.submit(self._ask, question, trial)
        call.add_done_callback(lambda _: self._slots.release())
        self._waiters.submit(self._wait, call, trial, done)

    def close(self) -> None:
        """Lets the requests under way end by themselves."""
        self._waiters.shutdown(wait=True)
        self._callers.shutdown(wait=False, cancel_futures=True)

    def _wait(self, call: Future[Answer], trial: Trial, done: Done) -> None:
        began = time.perf_counter()
        answer, error = None, None
        try:
            answer = call.result(timeout=trial.budget.timeout_ms / 1000)
        except TimeoutError:
            error = f"no answer within {trial.budget.timeout_ms:g} ms"
        except Exception as failure:  # whatever it is, the live release answers, and it counts
            error = f"{type(failure).__name__}: {failure}"
        milliseconds = 1000 * (time.perf_counter() - began)
        try:
            done(answer, milliseconds)
        finally:
            self._count(trial, error, milliseconds)

    def _count(self, trial: Trial, error: str | None, milliseconds: float) -> None:
        broken = self._window(trial).add(failed=error is not None, milliseconds=milliseconds)
        if broken:
            self._switches.trip(trial, broken)
        record = {
            "time": timestamp(time.time()),
            "trial_id": trial.trial_id,
            "release_id": trial.release_id,
            "latency_ms": round(milliseconds, 3),
            "error": error and error[:500],
        }
        self._recorder.put(self._log, lambda _: [record])

    def _window(self, trial: Trial) -> BudgetWindow:
        key = f"{trial.trial_id} {trial.budget.model_dump_json()}"
        with self._watching:  # answers that end at once are counted in one window
            if self._watched is None or self._watched[0] != key:
                self._watched = (key, BudgetWindow(trial.budget))
            return self._watched[1]
