"""Live queries sent to the candidate as well, after they were answered, and the two compared."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from serving.live.background import Background
from serving.live.candidate import AskCandidate
from serving.live.places import LivePlaces
from serving.live.query_log import timestamp
from serving.live.query_text import QueryRecorder
from serving.live.recorder import Recorder
from serving.live.settings import Trial
from serving.models.engine import Answer, Question

_ROOM = 64
_CLOSE_S = 1.0


@dataclass(frozen=True)
class _Job:
    trial: Trial
    question: Question
    live: Answer
    live_ms: float


class Shadow:
    """Asks the candidate in one thread; drops queries that it has no time for.

    Args:
        ask: Reaches the candidate.
        places: Where the log lies.
        recorder: Writes the log.
    """

    def __init__(self, ask: AskCandidate, places: LivePlaces, recorder: Recorder) -> None:
        self._ask, self._recorder = ask, recorder
        self._log = places.shadow_log
        self._background: Background[_Job] = Background(self._compare_all, room=_ROOM)

    def put(self, question: Question, live: Answer, *, trial: Trial, live_ms: float) -> None:
        """Draws a request; it is compared later, if there is time."""
        if random.random() < trial.shadow_share:
            self._background.put(_Job(trial, question, live, live_ms))

    def close(self) -> None:
        """Compares what waits, if that is quick."""
        self._background.close(within_s=_CLOSE_S)

    def _compare_all(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._compare(job)

    def _compare(self, job: _Job) -> None:
        began = time.perf_counter()
        answer, error = None, None
        try:
            answer = self._ask(job.question, job.trial)
        except Exception as failure:  # whatever it is, it is the candidate's failure
            error = f"{type(failure).__name__}: {failure}"[:500]
        milliseconds = 1000 * (time.perf_counter() - began)
        shared = {
            "time": timestamp(time.time()),
            "trial_id": job.trial.trial_id,
            "release_id": job.trial.live_release_id,
            "candidate_release_id": job.trial.release_id,
            "k": job.question.k,
            "live_ms": round(job.live_ms, 3),
            "candidate_ms": round(milliseconds, 3),
            "error": error,
        }

        def lines(queries: QueryRecorder) -> list[dict[str, Any]]:
            return [
                {**shared, **queries.field(text), **compare(job.live, answer, row)}
                for row, text in enumerate(job.question.texts)
            ]

        self._recorder.put(self._log, lines)


def compare(live: Answer, candidate: Answer | None, row: int) -> dict[str, Any]:
    """How the candidate's answer to one query differs from the live one.

    Args:
        live: The live release's answer.
        candidate: The candidate's, to the same request; None if it gave none.
        row: The query's row in both.
    """
    if candidate is None:
        return {"overlap": None, "same_first": None, "top_score": None, "score_shift": None}
    ours, theirs = live.product_ids[row].tolist(), candidate.product_ids[row].tolist()
    wanted = max(len(ours), len(theirs))
    if not ours or not theirs:
        shift, top = None, None
    else:
        top = float(live.scores[row, 0])
        shift = round(float(candidate.scores[row, 0]) - top, 6)
    return {
        "overlap": round(len(set(ours) & set(theirs)) / wanted, 6) if wanted else 1.0,
        "same_first": ours[:1] == theirs[:1],
        "top_score": None if top is None else round(top, 6),
        "score_shift": shift,
    }
