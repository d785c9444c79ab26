"""Triton model `query_encoder`: query text to embedding."""

from typing import Any

from mmr.errors import MmrError
from serving.models.encoding import EncodingEngine
from serving.models.requests import RequestError, check_release, read_texts
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
    """TEXT (rows, 1) to EMBEDDING (rows, dim) and RELEASE_ID (rows, 1)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the encoder; any doubt about its files fails the load."""
        try:
            check_numpy()
            self._engine = EncodingEngine.open(staged_release(args), threads=threads(args))
            self._version = args["model_version"]
        except MmrError as error:
            raise load_failure(error) from error

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encodes the texts of all requests at once; a bad request spoils only itself."""
        responses: list[Any] = [None] * len(requests)
        texts: list[list[str]] = [[] for _ in requests]
        for number, request in enumerate(requests):
            try:
                texts[number] = self._read(request)
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
            responses[number] = response(set(requests[number].requested_output_names()), outputs)
            start += rows
        return responses

    def _read(self, request: Any) -> list[str]:
        release_id = self._engine.release_id
        check_release(options(request), release_id=release_id, version=self._version)
        return read_texts(input_array(request, "TEXT"))
