"""Triton model `search`: query text to products, from one release in one process."""

from typing import Any

from mmr.errors import MmrError
from serving.models.engine import Question, SearchEngine
from serving.models.requests import RequestError, read_k, read_texts
from serving.models.served_release import check_numpy
from serving.models.tensors import (
    column,
    input_array,
    load_failure,
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

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers all requests in one pass; a bad request spoils only itself."""
        responses: list[Any] = [None] * len(requests)
        questions: dict[int, Question] = {}
        for number, request in enumerate(requests):
            try:
                questions[number] = _read_question(request)
            except RequestError as error:
                responses[number] = refusal(error)
        if questions:
            answers = self._engine.answer(list(questions.values()))
            for number, answer in zip(questions, answers, strict=True):
                outputs = {
                    "PRODUCT_IDS": answer.product_ids,
                    "SCORES": answer.scores,
                    "TITLES": answer.titles,
                    "RELEASE_ID": column(self._engine.release_id, len(answer.scores)),
                }
                responses[number] = response(requests[number], outputs)
        return responses


def _read_question(request: Any) -> Question:
    texts = read_texts(input_array(request, "TEXT"))
    return Question(texts, read_k(input_array(request, "K")))
