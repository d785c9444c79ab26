"""Everything that happens to a request of the live model besides being answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mmr.release.query_profile import QueryPlacer
from mmr.release.query_words import normalise_query
from serving.live.canary import Canary, falls_to_candidate
from serving.live.candidate import AskCandidate
from serving.live.places import LivePlaces
from serving.live.query_log import QueryLog, Route, Served
from serving.live.recorder import Recorder
from serving.live.settings import Trial
from serving.live.shadow import Shadow
from serving.live.switches import Switches, Warn
from serving.models.engine import Answer, Question
from serving.models.requests import WARM_UP_TEXT, RequestOptions


class Reply(Protocol):
    """The way back to the sender of one request; used once."""

    def send(self, answer: Answer, release_id: str) -> None:
        """Sends an answer, and the id of the release that gave it."""

    def fail(self, message: str) -> None:
        """Sends an error."""


OpenReply = Callable[[], Reply]
"""Called while the request is still at hand, and only if it is answered by somebody else."""


class Traffic(Protocol):
    """What the model `search` tells of its requests."""

    def divert(self, question: Question, options: RequestOptions, reply: OpenReply) -> bool:
        """Whether somebody else answers; `reply` was called then, and is used by another thread."""

    def answered(
        self, question: Question, options: RequestOptions, answer: Answer, milliseconds: float
    ) -> None:
        """Told of each answer that the model gave by itself."""

    def failed(
        self, question: Question, options: RequestOptions, error: Exception, milliseconds: float
    ) -> None:
        """Told of each request that the model could not answer; a refused one is none."""

    def close(self) -> None:
        """Ends the threads."""


class NoTraffic:
    """For a model that is being verified or tried, and for a server without a workspace."""

    def divert(self, question: Question, options: RequestOptions, reply: OpenReply) -> bool:
        return False

    def answered(
        self, question: Question, options: RequestOptions, answer: Answer, milliseconds: float
    ) -> None:
        pass

    def failed(
        self, question: Question, options: RequestOptions, error: Exception, milliseconds: float
    ) -> None:
        pass

    def close(self) -> None:
        pass


class LiveTraffic:
    """Query log, shadow and canary of a live model process.

    Args:
        serving: `Workspace.serving`.
        release_id: The release of this process.
        answer: Answers by this release, from any thread.
        ask: Reaches the candidate.
        warn: For the server's log.
        placer: What this release remembers of its training queries.
    """

    def __init__(
        self,
        serving: Path,
        *,
        release_id: str,
        answer: Callable[[Question], Answer],
        ask: AskCandidate,
        warn: Warn,
        placer: QueryPlacer | None = None,
    ) -> None:
        places = LivePlaces(serving)
        self._release_id, self._answer, self._placer = release_id, answer, placer
        self._switches = Switches(places, release_id=release_id, warn=warn)
        self._recorder = Recorder(places, self._switches, warn)
        self._query_log = QueryLog(places, self._switches, self._recorder)
        self._shadow = Shadow(ask, places, self._recorder)
        self._canary = Canary(ask, places, self._switches, self._recorder)

    def divert(self, question: Question, options: RequestOptions, reply: OpenReply) -> bool:
        """Hands a request to the canary if it falls to it."""
        trial = self._switches.now.trial
        if trial is None or options.stays or not falls_to_candidate(trial, _key(question, options)):
            return False
        if not self._canary.reserve():
            return False
        way_back = reply()

        def done(answer: Answer | None, milliseconds: float) -> None:
            self._finish(question, trial, way_back, answer=answer, milliseconds=milliseconds)

        self._canary.take(question, trial, done)
        return True

    def _finish(
        self,
        question: Question,
        trial: Trial,
        reply: Reply,
        *,
        answer: Answer | None,
        milliseconds: float,
    ) -> None:
        if answer is not None:
            reply.send(answer, trial.release_id)
            self._log(question, answer, milliseconds, Route.CANARY, release_id=trial.release_id)
            return
        try:
            answer = self._answer(question)
        except (
            Exception
        ) as error:  # as when Triton catches it: the sender is told, all else goes on
            reply.fail(f"{type(error).__name__}: {error}")
            self._log(question, error, milliseconds, Route.FALLBACK)
            return
        reply.send(answer, self._release_id)
        self._log(question, answer, milliseconds, Route.FALLBACK)

    def answered(
        self, question: Question, options: RequestOptions, answer: Answer, milliseconds: float
    ) -> None:
        """Logs the request, and may send it to the candidate too."""
        if options.probe or question.texts == [WARM_UP_TEXT]:
            return
        self._log(question, answer, milliseconds, Route.LIVE)
        trial = self._switches.now.trial
        if trial is not None and trial.shadow_share > 0:
            self._shadow.put(question, answer, trial=trial, live_ms=milliseconds)

    def failed(
        self, question: Question, options: RequestOptions, error: Exception, milliseconds: float
    ) -> None:
        """Logs the request as one without an answer."""
        if not options.probe and question.texts != [WARM_UP_TEXT]:
            self._log(question, error, milliseconds, Route.LIVE)

    def _log(
        self,
        question: Question,
        outcome: Answer | Exception,
        milliseconds: float,
        route: Route,
        *,
        release_id: str | None = None,
    ) -> None:
        """Of another release it is not known which words are new."""
        self._query_log.add(
            question,
            outcome,
            Served(
                release_id or self._release_id,
                route,
                milliseconds,
                self._placer if release_id is None else None,
            ),
        )

    def close(self) -> None:
        """Answers what is under way, writes what waits."""
        self._canary.close()
        self._shadow.close()
        self._recorder.close()


def _key(question: Question, options: RequestOptions) -> str:
    """Who or what decides where a request goes: the sender's key, or else its queries."""
    if options.key is not None:
        return f"key {options.key}"
    return "\n".join(["queries", *map(normalise_query, question.texts)])
