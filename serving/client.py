"""The typed client of a served release.

```python
with SearchClient("127.0.0.1:8001") as client:
    answer = client.search("white wardrobe", k=10)
    print(answer.release_id, [hit.product_id for hit in answer.hits])
```
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmr.errors import ServingError
from mmr.types import Float32Array, Hit
from serving.model_config import QUERY_ENCODER, SEARCH
from serving.transport import TransportProtocol, connect, text_column


@dataclass(frozen=True)
class TitledHit(Hit):
    """One product of a search answer, with the title as it was when the index was built."""

    title: str


@dataclass(frozen=True)
class SearchAnswer:
    """The products found for one query, and the release that found them."""

    release_id: str
    hits: tuple[TitledHit, ...]


@dataclass(frozen=True)
class QueryEmbeddings:
    """Query embeddings, `(texts, dim)`, and the release whose encoder made them."""

    release_id: str
    vectors: Float32Array


class SearchClient:
    """Searches a served release. Not safe to share between threads: open one in each.

    Args:
        url: `host:port` of Triton.
        protocol: `grpc` (faster) or `http`; each has its own port.
        timeout_s: Seconds that one call may take.
        version: Pins a Triton version number; by default the newest one answers.
        batch: Queries sent in one request by `search_many` and `embed`; not above the server's
            largest batch (64 unless changed).
        model_suffix: Reaches a release under verification; for deployment.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        protocol: TransportProtocol | str = TransportProtocol.GRPC,
        timeout_s: float = 5.0,
        version: int | None = None,
        batch: int = 64,
        model_suffix: str = "",
    ) -> None:
        self._transport = connect(url, protocol=protocol, timeout_s=timeout_s)
        self._version = version
        self._batch = batch
        self._search_model = SEARCH + model_suffix
        self._encoder_model = QUERY_ENCODER + model_suffix

    def search(self, text: str | bytes, k: int = 10) -> SearchAnswer:
        """Finds the `k` products nearest to one query.

        Raises:
            ServingError: The server refused, timed out or cannot be reached.
        """
        return self._search_batch([text], k)[0]

    def search_many(self, texts: Sequence[str | bytes], k: int = 10) -> list[SearchAnswer]:
        """Answers many queries in few requests, in the order given.

        Raises:
            ServingError: The server refused, timed out or cannot be reached.
        """
        return [
            answer
            for block in _blocks(texts, self._batch)
            for answer in self._search_batch(block, k)
        ]

    def embed(self, texts: Sequence[str | bytes]) -> QueryEmbeddings:
        """Embeds queries without searching.

        Raises:
            ServingError: The server refused, timed out or cannot be reached, or a new release
                took over between two requests of this call.
        """
        if not texts:
            raise ServingError("No text was given to embed. Pass at least one query.")
        blocks, releases = [], set()
        for block in _blocks(texts, self._batch):
            found = self._transport.infer(
                self._encoder_model,
                {"TEXT": text_column(block)},
                ("EMBEDDING", "RELEASE_ID"),
                version=self._version,
            )
            blocks.append(found["EMBEDDING"])
            releases.add(_release_id(found))
        if len(releases) > 1:
            raise ServingError(
                f"Releases {sorted(releases)} both answered this call, and their embeddings cannot "
                "be mixed. Send the queries again."
            )
        return QueryEmbeddings(releases.pop(), np.concatenate(blocks))

    def ready(self) -> bool:
        """Whether `search` answers. An unreachable server counts as not ready."""
        try:
            return self._transport.ready(self._search_model, version=self._version)
        except ServingError:
            return False

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the connection."""
        self.close()

    def _search_batch(self, texts: Sequence[str | bytes], k: int) -> list[SearchAnswer]:
        if not -(2**31) <= k < 2**31:
            raise ServingError(f"K is {k}, which is no 32-bit number. Ask for 1 to 1000 products.")
        found = self._transport.infer(
            self._search_model,
            {"TEXT": text_column(texts), "K": np.full((len(texts), 1), k, dtype=np.int32)},
            ("PRODUCT_IDS", "SCORES", "TITLES", "RELEASE_ID"),
            version=self._version,
        )
        release_id = _release_id(found)
        return [
            SearchAnswer(release_id, _hits(*row))
            for row in zip(found["PRODUCT_IDS"], found["SCORES"], found["TITLES"], strict=True)
        ]


def _hits(
    product_ids: NDArray[np.object_], scores: Float32Array, titles: NDArray[np.object_]
) -> tuple[TitledHit, ...]:
    return tuple(
        TitledHit(rank, score, product_id.decode(), title.decode())
        for rank, (product_id, score, title) in enumerate(
            zip(product_ids.tolist(), scores.tolist(), titles.tolist(), strict=True), start=1
        )
    )


def _release_id(found: dict[str, NDArray[Any]]) -> str:
    return str(found["RELEASE_ID"][0, 0].decode())


def _blocks(texts: Sequence[str | bytes], size: int) -> list[list[str | bytes]]:
    rest = iter(texts)
    blocks = []
    while block := list(islice(rest, size)):
        blocks.append(block)
    return blocks
