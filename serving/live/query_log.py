"""The query log: one record for each query that was drawn and answered.

`docs/serving.md` describes the fields. Refused requests are not in it.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mmr.release.query_profile import QueryPlacer
from mmr.release.query_words import normalise_query, words_of
from serving.live.places import LivePlaces
from serving.live.query_text import QueryRecorder
from serving.live.recorder import Recorder
from serving.live.switches import Switches
from serving.models.engine import Answer, Question

SHOWN = 10
"""Products of an answer that stand in its record: the first page."""


class Route(StrEnum):
    """Who answered, and why."""

    LIVE = "live"
    CANARY = "canary"
    FALLBACK = "fallback"
    """The canary failed, so the live release answered."""


@dataclass(frozen=True)
class Served:
    """How a request was served.

    Attributes:
        release_id: Who answered, or failed to.
        route: Why that release.
        milliseconds: In the model; queue and network are not in it.
        placer: What that release remembers of its training queries, where that is at hand.
    """

    release_id: str
    route: Route
    milliseconds: float
    placer: QueryPlacer | None


class QueryLog:
    """Draws queries and hands their records on.

    Args:
        places: Where the log lies.
        switches: How many are drawn.
        recorder: Writes them.
    """

    def __init__(self, places: LivePlaces, switches: Switches, recorder: Recorder) -> None:
        self._directory, self._switches, self._recorder = places.query_log, switches, recorder

    def add(self, question: Question, outcome: Answer | Exception, served: Served) -> None:
        """Records the queries of one request: answered, or failed by this exception."""
        share = self._switches.now.query_log.share
        drawn = [row for row in range(len(question.texts)) if random.random() < share]
        if not drawn:
            return
        shared = {
            "time": timestamp(time.time()),
            "release_id": served.release_id,
            "route": served.route.value,
        }
        measured = {"latency_ms": round(served.milliseconds, 3), "share": share}
        rows = [(question.texts[row], _found(outcome, row)) for row in drawn]

        def lines(queries: QueryRecorder) -> list[dict[str, Any]]:
            return [
                {
                    **shared,
                    **queries.field(text),
                    "k": question.k,
                    **(_hidden(found, queries, text) if queries.hides else found),
                    **measured,
                    **_words(text, served.placer),
                }
                for text, found in rows
            ]

        self._recorder.put(self._directory, lines)


def _found(outcome: Answer | Exception, row: int) -> dict[str, Any]:
    """What was found for one query. Of a failure its type alone: its text could hold the query."""
    if isinstance(outcome, Exception):
        nothing = {"results": 0, "top_score": None, "bins": None, "shown": None}
        return {**nothing, "error": type(outcome).__name__}
    results = outcome.scores.shape[1]
    return {
        "results": results,
        "top_score": round(float(outcome.scores[row, 0]), 6) if results else None,
        "bins": None if outcome.bins is None else outcome.bins[row].tolist(),
        "shown": [product_id.decode() for product_id in outcome.product_ids[row, :SHOWN]],
        "error": None,
    }


def _hidden(found: dict[str, Any], queries: QueryRecorder, text: str) -> dict[str, Any]:
    """The same where queries are hashed: too little to find out, by asking, which query it was.

    No product, the score with two digits, and of the bins one alone, always the same for a query.
    """
    bins, score = found["bins"], found["top_score"]
    if bins:
        chosen = queries.choose(text, len(bins))
        bins = [place if axis == chosen else None for axis, place in enumerate(bins)]
    hidden = {"top_score": None if score is None else round(score, 2), "bins": bins, "shown": None}
    return {**found, **hidden}


def _words(text: str, placer: QueryPlacer | None) -> dict[str, int | None]:
    if placer is None:
        return {"words": len(words_of(normalise_query(text))), "new_words": None}
    counted = placer.count_words(text)
    return {"words": counted.words, "new_words": counted.new}


def timestamp(seconds: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
