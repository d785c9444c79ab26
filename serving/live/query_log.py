"""The query log: one record for each query that was drawn and answered.

`docs/serving.md` describes the fields. Refused requests are not in it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from serving.live.places import LivePlaces
from serving.live.query_text import QueryRecorder
from serving.live.recorder import Recorder
from serving.live.switches import Switches


class Route(StrEnum):
    """Who answered, and why."""

    LIVE = "live"
    CANARY = "canary"
    FALLBACK = "fallback"
    """The canary failed, so the live release answered."""


class QueryLog:
    """Draws queries and hands their records on.

    Args:
        places: Where the log lies.
        switches: How many are drawn.
        recorder: Writes them.
    """

    def __init__(self, places: LivePlaces, switches: Switches, recorder: Recorder) -> None:
        self._directory, self._switches, self._recorder = places.query_log, switches, recorder

    def add(
        self,
        texts: Sequence[str],
        *,
        k: int,
        top_scores: Sequence[float],
        results: int,
        release_id: str,
        milliseconds: float,
        route: Route,
    ) -> None:
        """Records the queries of one request.

        Args:
            texts: Its queries.
            k: Products wanted for each.
            top_scores: Best score of each; none if no product was found.
            results: Products found for each.
            release_id: Who answered.
            milliseconds: In the model; queue and network are not in it.
            route: Why that release.
        """
        share = self._switches.now.query_log.share
        drawn = [row for row in range(len(texts)) if random.random() < share]
        if not drawn:
            return
        rows = [(texts[row], top_scores[row] if results else None) for row in drawn]
        when = timestamp(time.time())

        def lines(queries: QueryRecorder) -> list[dict[str, Any]]:
            return [
                {
                    "time": when,
                    "release_id": release_id,
                    "route": route.value,
                    **queries.field(text),
                    "k": k,
                    "results": results,
                    "top_score": None if top is None else round(top, 6),
                    "latency_ms": round(milliseconds, 3),
                }
                for text, top in rows
            ]

        self._recorder.put(self._directory, lines)


def timestamp(seconds: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
