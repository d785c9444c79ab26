"""Triton model `query_encoder`: query text to embedding."""

from typing import Any

from mmr.errors import MmrError
from serving.models.engine import EncodingEngine
from serving.models.requests import RequestError, read_texts
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
    """TEXT (rows, 1) to EMBEDDING (rows, dim) and RELEASE_ID (rows, 1)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the encoder; any doubt about its files fails the load."""
        try:
            check_numpy()
            self._engine = EncodingEngine.open(staged_release(args), threads=threads(args))
        except MmrError as error:
            raise load_failure(error) from error

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encodes the texts of all requests at once; a bad request spoils only itself."""
        responses: list[Any] = [None] * len(requests)
        texts: list[list[str]] = [[] for _ in requests]
        for number, request in enumerate(requests):
            try:
                texts[number] = read_texts(input_array(request, "TEXT"))
            except RequestError as error:
                responses[number] = refusal(error)
        good = [number for number, response_ in enumerate(responses) if response_ is None]
        if not good:
            return responses
        embeddings = self._engine.encode([text for number in good for text in texts[number]])
        start = 0
        for number in good:
            rows = len(texts[number])
            outputs = {
                "EMBEDDING": embeddings[start : start + rows],
                "RELEASE_ID": column(self._engine.release_id, rows),
            }
            responses[number] = response(requests[number], outputs)
            start += rows
        return responses
