"""MLflow's server goes away before every single request of every operation.

The operation says so within 20 s, with the cure, and run again with the server back it finishes.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import TrackingError
from mmr.tracking import open_tracking
from mmr.tracking.connection import import_mlflow
from tests.faults.conftest import Shop
from tests.tracking.server import serving_mlflow

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

OLD, NEW, OTHER, SPARE = "a" * 16, "b" * 16, "c" * 16, "d" * 16
LIMIT_S = 20.0


class Gateway(ThreadingHTTPServer):
    """Hands requests on to the server while it may, then drops every connection.

    Attributes:
        left: How many requests it still hands on; None for all.
        seen: How many it was asked.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target.removeprefix("http://")
        self.left: int | None = None
        self.seen = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _hand_on(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen += 1
        if self.server.left is not None:
            if self.server.left <= 0:
                return  # no answer: the connection just ends
            self.server.left -= 1
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _hand_on

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving_mlflow(tmp_path_factory.mktemp("server")) as target:
        gateway = Gateway(target)
        thread = threading.Thread(target=gateway.serve_forever, daemon=True)
        thread.start()
        yield gateway
        gateway.shutdown()
        gateway.server_close()
        thread.join()


@pytest.fixture(scope="module")
def registry(gateway: Gateway, served_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Four releases are registered, of which the old one is champion."""
    tracking = open_tracking(gateway.url, audit_file=tmp_path_factory.mktemp("audit") / "a.jsonl")
    for release_id in (OLD, NEW, OTHER, SPARE):
        tracking.register(
            release_id=release_id, release_dir=_directory(served_shop), run_id=None, tags={}
        )
    tracking.promote(OLD, expected=None, why="first", who="ann")
    return tracking


def _directory(made: Shop) -> Path:
    return made.place / "shop" / "releases" / made.old


@pytest.fixture(autouse=True)
def _one_quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mmr.tracking` sets it, but for the pause before; tests/tracking has a mute server."""
    import_mlflow()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


def fails_with_the_cure_at_every_request(
    gateway: Gateway, operation: Callable[[], Any], *, undo: Callable[[], Any] = lambda: None
) -> int:
    """Lets the server go away before request 0, 1, 2, … of an operation; returns how many fail.

    Args:
        gateway: In front of the server.
        operation: What is tried; after each failure it is run again, and must succeed.
        undo: Brings the store back to where the operation has work to do.
    """
    for number in range(100):
        gateway.left = number
        began = time.monotonic()
        refusal = _refusal(operation)
        took = time.monotonic() - began
        gateway.left = None
        if refusal is not None:
            assert took < LIMIT_S
            assert "failed while" in refusal
            assert "MLFLOW_TRACKING_URI or --tracking-uri" in refusal
            operation()
        undo()
        if refusal is None:
            return number
    raise AssertionError("the operation needs more than 100 requests")


def _refusal(operation: Callable[[], Any]) -> str | None:
    try:
        operation()
    except TrackingError as error:
        return str(error)
    return None


def test_open(gateway: Gateway) -> None:
    assert fails_with_the_cure_at_every_request(gateway, lambda: open_tracking(gateway.url)) >= 2


@pytest.mark.parametrize(
    "read",
    [
        lambda registry: registry.resolve("champion"),
        lambda registry: registry.releases(),
        lambda registry: registry.history(),
        lambda registry: registry.latest(),
        lambda registry: registry.aliases(OLD),
    ],
    ids=["resolve", "releases", "history", "latest", "aliases"],
)
def test_read(gateway: Gateway, registry: Any, read: Callable[[Any], Any]) -> None:
    assert fails_with_the_cure_at_every_request(gateway, lambda: read(registry)) >= 1


def test_log_run(gateway: Gateway, registry: Any) -> None:
    def log() -> None:
        registry.log_run(name="run", params={"a": 1}, metrics={"b": 2.0}, tags={"c": "d"})

    assert fails_with_the_cure_at_every_request(gateway, log) >= 2


def test_register(gateway: Gateway, registry: Any, served_shop: Shop) -> None:
    numbers = iter(range(100))
    current = f"{next(numbers):016x}"

    def register() -> None:
        registry.register(
            release_id=current, release_dir=_directory(served_shop), run_id=None, tags={}
        )

    def another() -> None:
        nonlocal current
        ids = [release.release_id for release in registry.releases()]
        assert ids.count(current) == 1
        current = f"{next(numbers):016x}"

    assert fails_with_the_cure_at_every_request(gateway, register, undo=another) >= 5


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_promotion_and_rollback(gateway: Gateway, registry: Any, action: Any) -> None:
    def promote() -> None:
        champion = registry.resolve("champion")
        expected = champion if champion == NEW else OLD
        registry.promote(NEW, expected=expected, why="", who="", action=action)

    def back() -> None:
        assert (registry.resolve("champion"), registry.resolve("previous")) == (NEW, OLD)
        assert all(record.finished for record in registry.history())
        registry.promote(OLD, expected=NEW, why="", who="")

    assert fails_with_the_cure_at_every_request(gateway, promote, undo=back) >= 6


def test_alias_and_deletion(gateway: Gateway, registry: Any) -> None:
    assert (
        fails_with_the_cure_at_every_request(
            gateway, lambda: registry.set_alias("candidate", OTHER)
        )
        >= 3
    )
    assert fails_with_the_cure_at_every_request(gateway, lambda: registry.mark_deleted(SPARE)) >= 3
