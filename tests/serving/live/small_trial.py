"""A trial of one candidate against the live release, and what is asked and answered in it."""

import threading
from pathlib import Path

import numpy as np

from mmr.release.query_profile import QueryPlacer
from serving.live.settings import Trial
from serving.live.traffic import LiveTraffic
from serving.models.engine import Answer, Question

LIVE, CANDIDATE = "live", "candidate"
OAK_DESK = Question(["oak desk"], k=2)


def a_trial(**settings: object) -> Trial:
    defaults = {
        "trial_id": "t1",
        "release_id": CANDIDATE,
        "version": 2,
        "live_release_id": LIVE,
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Trial.model_validate({**defaults, **settings})


def answer_of(release: str) -> Answer:
    """Products named after the release that gives them."""
    ids = np.array([[f"{release}-1".encode(), f"{release}-2".encode()]], dtype=np.object_)
    return Answer(ids, np.array([[0.9, 0.8]], dtype=np.float32), ids)


class Sent:
    """The way back to one sender."""

    def __init__(self) -> None:
        self.release_id: str | None = None
        self.error: str | None = None
        self._done = threading.Event()

    def send(self, answer: Answer, release_id: str) -> None:
        assert answer.product_ids[0, 0].decode().startswith(release_id)
        self.release_id = release_id
        self._done.set()

    def fail(self, message: str) -> None:
        self.error = message
        self._done.set()

    def wait(self) -> "Sent":
        assert self._done.wait(10)
        return self


def quiet_traffic(home: Path, *, placer: QueryPlacer | None = None) -> LiveTraffic:
    """Traffic of the live release; it and the candidate answer everything."""
    return LiveTraffic(
        home,
        release_id=LIVE,
        answer=lambda question: answer_of(LIVE),
        ask=lambda question, trial: answer_of(CANDIDATE),
        warn=lambda message: None,
        placer=placer,
    )
