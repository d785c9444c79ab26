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
from serving.pinning import Address, find_release
from serving.transport import (
    Arrays,
    NotLoadedError,
    Parameters,
    TransportProtocol,
    connect,
    text_column,
)


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
        release: Pins a release: the version that holds it is looked up, and the server refuses
            the request should another release get it.
        version: Pins a Triton version number; by default the newest one answers.
        batch: Queries sent in one request by `search_many` and `embed`; not above the server's
            largest batch (64 unless changed).
        model_suffix: Reaches a release under verification; for deployment.
        probe: Marks the requests as checks, which stand in no log and meet no canary.

    Raises:
        ServingError: Both a release and a version are pinned.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        protocol: TransportProtocol | str = TransportProtocol.GRPC,
        timeout_s: float = 5.0,
        release: str | None = None,
        version: int | None = None,
        batch: int = 64,
        model_suffix: str = "",
        probe: bool = False,
    ) -> None:
        if release is not None and version is not None:
            raise ServingError(
                f"Both release {release} and version {version} are pinned. Pin one of them."
            )
        self._transport = connect(url, protocol=protocol, timeout_s=timeout_s)
        self._batch = batch
        self._release = release
        self._address = None if release else Address(model_suffix, version)
        self._parameters: Parameters = {
            **({"release": release} if release else {}),
            **({"fixed": True} if version is not None else {}),
            **({"probe": True} if probe else {}),
        }

    def search(self, text: str | bytes, k: int = 10, *, key: str | None = None) -> SearchAnswer:
        """Finds the `k` products nearest to one query.

        Args:
            text: What the customer typed.
            k: Products wanted.
            key: Who asks, best as a hash: a canary answers all or none of what has the same key.
                By default the query decides. It is neither stored nor logged.

        Raises:
            ServingError: The server refused, timed out or cannot be reached.
        """
        return self._search_batch([text], k, key)[0]

    def search_many(
        self, texts: Sequence[str | bytes], k: int = 10, *, key: str | None = None
    ) -> list[SearchAnswer]:
        """Answers many queries in few requests, in the order given; `key` as in `search`.

        While a canary runs and no key is given, two requests may meet different releases; each
        answer names its own.

        Raises:
            ServingError: The server refused, timed out or cannot be reached.
        """
        return [
            answer
            for block in _blocks(texts, self._batch)
            for answer in self._search_batch(block, k, key)
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
            found = self._infer(
                QUERY_ENCODER, {"TEXT": text_column(block)}, ("EMBEDDING", "RELEASE_ID")
            )
            blocks.append(found["EMBEDDING"])
            releases.add(_release_id(found))
        if len(releases) > 1:
            raise ServingError(
                f"Releases {sorted(releases)} both answered this call, and their embeddings cannot "
                "be mixed. Send the queries again."
            )
        return QueryEmbeddings(releases.pop(), np.concatenate(blocks))

    @property
    def url(self) -> str:
        """Where the requests go."""
        return self._transport.url

    def ready(self) -> bool:
        """Whether `search` answers. An unreachable server counts as not ready."""
        try:
            address = self._address or self._find()
            return self._transport.ready(SEARCH + address.model_suffix, version=address.version)
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

    def _search_batch(
        self, texts: Sequence[str | bytes], k: int, key: str | None
    ) -> list[SearchAnswer]:
        if not -(2**31) <= k < 2**31:
            raise ServingError(f"K is {k}, which is no 32-bit number. Ask for 1 to 1000 products.")
        found = self._infer(
            SEARCH,
            {"TEXT": text_column(texts), "K": np.full((len(texts), 1), k, dtype=np.int32)},
            ("PRODUCT_IDS", "SCORES", "TITLES", "RELEASE_ID"),
            key=key,
        )
        release_id = _release_id(found)
        return [
            SearchAnswer(release_id, _hits(*row))
            for row in zip(found["PRODUCT_IDS"], found["SCORES"], found["TITLES"], strict=True)
        ]

    def _infer(
        self, model: str, inputs: Arrays, outputs: Sequence[str], *, key: str | None = None
    ) -> dict[str, NDArray[Any]]:
        parameters = self._parameters if key is None else {**self._parameters, "key": key}

        def ask(address: Address) -> dict[str, NDArray[Any]]:
            return self._transport.infer(
                model + address.model_suffix,
                inputs,
                outputs,
                version=address.version,
                parameters=parameters,
            )

        known = self._address or self._find()
        try:
            return ask(known)
        except NotLoadedError:
            if self._release is None or (moved := self._find()) == known:
                raise
            return ask(moved)  # the same release was deployed under a new number meanwhile

    def _find(self) -> Address:
        """Looks up where the pinned release is loaded now."""
        self._address = find_release(self._transport, str(self._release))
        return self._address


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
