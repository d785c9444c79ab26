"""Who answers the page's queries: the release that Triton serves, or a candidate in this process.

Either is one whole release: an encoder never meets the index of another.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Protocol

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchAnswer, SearchClient, TitledHit
from serving.models.engine import Question, SearchEngine
from serving.process import ServerRecord


class Searcher(Protocol):
    """Answers queries from one release."""

    def search(self, text: str, k: int) -> SearchAnswer:
        """Finds the `k` products nearest to a query.

        Raises:
            MmrError: It cannot answer; the message says what to do.
        """


class ServedSearcher:
    """Asks Triton. Safe to share between threads.

    Args:
        address: Tells `host:port` of Triton's gRPC; asked before each query, because a server that
            was started again may listen elsewhere.
        timeout_s: Seconds that one query may take.
    """

    def __init__(self, address: Callable[[], str], *, timeout_s: float = 5.0) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._lock = Lock()
        self._url: str | None = None
        self._client: SearchClient | None = None

    def search(self, text: str, k: int) -> SearchAnswer:
        """Finds the `k` products nearest to a query."""
        with self._lock:
            return self._connected().search(text, k)

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connected(self) -> SearchClient:
        url = self._address()
        if self._client is None or url != self._url:
            if self._client is not None:
                self._client.close()
            self._client, self._url = SearchClient(url, timeout_s=self._timeout_s, probe=True), url
        return self._client


def server_of(workspace: Workspace) -> Callable[[], str]:
    """Where the workspace's Triton listens, as `ServedSearcher` asks for it."""

    def address() -> str:
        server = ServerRecord(workspace.serving).running()
        if server is None:
            raise ServingError(
                f"No Triton server of {workspace.path} is running. Start it with `mmr serve`."
            )
        return server.grpc_url

    return address


class ReleaseSearcher:
    """Answers from a release on disk with the very code that Triton runs.

    Args:
        release: The release's directory.
        threads: Threads of encoder and index.

    Raises:
        ArtifactError: A file is damaged, or encoder and index do not belong together.
    """

    def __init__(self, release: Path, *, threads: int = 1) -> None:
        self._engine = SearchEngine.open(release, threads=threads)

    @property
    def release_id(self) -> str:
        """The release that answers."""
        return self._engine.release_id

    def search(self, text: str, k: int) -> SearchAnswer:
        """Finds the `k` products nearest to a query."""
        (answer,) = self._engine.answer([Question([text], k)])
        rows = zip(
            answer.product_ids[0].tolist(),
            answer.scores[0].tolist(),
            answer.titles[0].tolist(),
            strict=True,
        )
        hits = (
            TitledHit(rank, score, product_id.decode(), title.decode())
            for rank, (product_id, score, title) in enumerate(rows, start=1)
        )
        return SearchAnswer(self.release_id, tuple(hits))
