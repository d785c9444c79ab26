"""Triton model `search`: query text to products, from one release in one process."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from mmr.errors import MmrError
from serving.live.traffic import NoTraffic, Traffic
from serving.model_config import SEARCH
from serving.models.engine import Answer, Question, SearchEngine
from serving.models.live_search import Sender, keep_warmth, live_traffic, serving_home
from serving.models.requests import (
    RequestError,
    RequestOptions,
    check_release,
    read_k,
    read_texts,
)
from serving.models.served_release import check_numpy
from serving.models.tensors import (
    column,
    input_array,
    load_failure,
    options,
    refusal,
    response,
    staged_release,
    threads,
)


class TritonPythonModel:
    """TEXT, K (rows, 1) to PRODUCT_IDS, SCORES, TITLES (rows, k) and RELEASE_ID (rows, 1)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads encoder and index; any doubt about their files fails the load."""
        try:
            check_numpy()
            self._engine = SearchEngine.open(staged_release(args), threads=threads(args))
        except MmrError as error:
            raise load_failure(error) from error
        self._version = args["model_version"]
        home = serving_home() if args["model_name"] == SEARCH else None
        self._traffic: Traffic = live_traffic(home, self._engine) if home else NoTraffic()
        self._warmth = keep_warmth(home, int(self._version)) if home else None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers all requests in one pass; a bad request spoils only itself.

        A request that a canary answers has no response here: it gets it from another thread.
        """
        began = time.perf_counter()
        responses: list[Any] = [None] * len(requests)
        mine: dict[int, tuple[Question, RequestOptions]] = {}
        for number, request in enumerate(requests):
            try:
                question, wishes = self._read(request)
            except RequestError as error:
                responses[number] = refusal(error)
                continue
            if not self._traffic.divert(question, wishes, partial(Sender, request, _outputs)):
                mine[number] = question, wishes
        if mine:
            try:
                answers = self._engine.answer([question for question, _ in mine.values()])
            except Exception as error:  # Triton tells the senders; here it is only counted
                milliseconds = 1000 * (time.perf_counter() - began)
                for question, wishes in mine.values():
                    self._traffic.failed(question, wishes, error, milliseconds)
                raise
            milliseconds = 1000 * (time.perf_counter() - began)
            for (number, (question, wishes)), answer in zip(mine.items(), answers, strict=True):
                responses[number] = response(
                    set(requests[number].requested_output_names()),
                    _outputs(answer, self._engine.release_id),
                )
                self._traffic.answered(question, wishes, answer, milliseconds)
        return responses

    def finalize(self) -> None:
        """Answers what the canary has under way, writes what waits to be logged."""
        if self._warmth:
            self._warmth.close()
        self._traffic.close()

    def _read(self, request: Any) -> tuple[Question, RequestOptions]:
        wishes = options(request)
        check_release(wishes, release_id=self._engine.release_id, version=self._version)
        question = Question(
            read_texts(input_array(request, "TEXT")), read_k(input_array(request, "K"))
        )
        return question, wishes


def _outputs(answer: Answer, release_id: str) -> Mapping[str, NDArray[Any]]:
    return {
        "PRODUCT_IDS": answer.product_ids,
        "SCORES": answer.scores,
        "TITLES": answer.titles,
        "RELEASE_ID": column(release_id, len(answer.scores)),
    }
