"""The console script in this process, a shop to monitor, and a Kubeflow that remembers requests."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mmr.cli import main
from tests.pipelines.watched_shop import Shop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mmr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script in this process: status, stdout, stderr."""
    for name in ("KFP_TOKEN", "KF_PIPELINES_ENDPOINT", "MLFLOW_TRACKING_URI", "MMR_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mmr", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


class FakeKubeflow(ThreadingHTTPServer):
    """Records requests and answers as the REST API v2beta1 of Kubeflow Pipelines does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.tokens: list[str | None] = []
        self.experiments: list[dict[str, Any]] = []
        self.recurring: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.refuse: str | None = None  # the end of a path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        self.requests.append((method, path, query, body))
        if path.endswith("/experiments"):
            return self._listed(method, query, body, self.experiments, "experiment")
        if path.endswith("/runs"):
            self.runs.append({**body, "run_id": f"run-{len(self.requests)}"})
            return self.runs[-1]
        if path.endswith("/recurringruns"):
            return self._listed(method, query, body, self.recurring, "recurring_run")
        if method == "DELETE":
            wanted = path.rpartition("/")[2]
            self.recurring = [r for r in self.recurring if r["recurring_run_id"] != wanted]
        return {}

    def _listed(
        self, method: str, query: dict[str, list[str]], body: Any, rows: list[Any], kind: str
    ) -> Any:
        if method == "POST":
            rows.append({**body, f"{kind}_id": f"{kind}-{len(self.requests)}"})
            return rows[-1]
        (predicate,) = json.loads(query["filter"][0])["predicates"]
        assert (predicate["operation"], predicate["key"]) == (1, "display_name")  # 1 is EQUALS
        found = [row for row in rows if row["display_name"] == predicate["stringValue"]]
        return {f"{'recurringRuns' if kind == 'recurring_run' else 'experiments'}": found}


class _Handler(BaseHTTPRequestHandler):
    server: FakeKubeflow

    def _handle(self) -> None:
        address = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.tokens.append(self.headers.get("authorization"))
        if self.server.refuse and address.path.endswith(self.server.refuse):
            self._send(403, {"error": "no such user", "code": 7, "message": "no such user"})
        else:
            answer = self.server.answer(self.command, address.path, parse_qs(address.query), body)
            self._send(200, answer)

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def kubeflow() -> Iterator[FakeKubeflow]:
    server = FakeKubeflow()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
