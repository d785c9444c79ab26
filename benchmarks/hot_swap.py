"""Queries without a pause while releases are deployed and rolled back under them.

    python benchmarks/hot_swap.py --release workspace/releases/ID --out reports/hot-swap

Makes three releases with product ids of their own out of one real release, serves the first in a
new workspace, and lets several clients (processes, gRPC) search for a minute. Meanwhile the command
line deploys three times and rolls back once. Every answer is checked: it must arrive, and all its
products must belong to the release that it names.

Writes `hot_swap.json` and `hot_swap.md`; exit status 1 if a query failed, an answer was mixed, or
the p99 of a window rose above three times the steady one.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hot_swap_report
from hot_swap_report import Answered, Change
from release_variants import VariantMaker

from mmr.atomic import write_json, write_text
from mmr.errors import ServingError
from mmr.tracking import open_tracking
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchClient
from serving.settings import ServeSettings

_WARM_UP_QUERIES = 50
_START_TIMEOUT_S = 120


def main() -> int:
    """Runs the benchmark; 0 if everything held."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="mmr-hot-swap-", dir=options.scratch) as scratch:
        report = _run(options, Path(scratch))
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "hot_swap.json", report)
    write_text(options.out / "hot_swap.md", hot_swap_report.as_markdown(report))
    sys.stdout.write(hot_swap_report.as_markdown(report))
    return 0 if report["passed"] else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, required=True, help="a release directory")
    parser.add_argument("--products", type=int, default=5000, help="products of each variant")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--port-base", type=int, default=8500)
    parser.add_argument("--triton-venv", type=Path)
    parser.add_argument("--out", type=Path, default=Path("reports/hot-swap"))
    parser.add_argument("--scratch", type=Path, help="where the new workspace is made")
    return parser.parse_args()


def _run(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    workspace = Workspace.open(scratch / "workspace", create=True)
    maker = VariantMaker(options.release, products=options.products)
    letters = {maker.make(letter, workspace.releases).name: letter for letter in "ABC"}
    registry = open_tracking(workspace.tracking_uri)
    for release_id in letters:
        registry.register(
            release_id=release_id,
            release_dir=workspace.releases / release_id,
            run_id=None,
            tags={},
        )
    settings = ServeSettings.from_port_base(options.port_base)
    launcher.start(workspace, settings=settings, triton_venv=options.triton_venv)
    try:
        first, second, third = letters
        command = _Commands(workspace, options.port_base)
        command.run("deploy", first)
        load = _Load(options, maker.titles[:500], letters)
        steps = [("deploy", second), ("deploy", third), ("deploy", first), ("rollback",)]
        changes = load.during(lambda began: _change(steps, command, began, options.seconds))
        threads = command.threads()
    finally:
        launcher.shut_down(workspace, grace_s=settings.stop_grace_s)
    return hot_swap_report.sum_up(
        load.answers,
        changes,
        began=load.began,
        conditions={
            "clients": options.clients,
            "products": options.products,
            "threads_per_model": threads,
        },
    )


class _Commands:
    """The command line, in processes of its own."""

    def __init__(self, workspace: Workspace, port_base: int) -> None:
        self._workspace = workspace
        self._client = SearchClient(f"127.0.0.1:{port_base + 1}", probe=True)

    def run(self, *words: str) -> float:
        """Runs one command; the monotonic time at which another release answered first."""
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        before = self._serving()
        process = subprocess.Popen(
            [sys.executable, "-m", "mmr", *words, "--workspace", str(self._workspace.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            start_new_session=True,  # an operator sits at another terminal than the customers
        )
        switched = None
        while process.poll() is None:
            if switched is None and self._serving() != before:
                switched = time.monotonic()
            time.sleep(0.1)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"error: mmr {' '.join(words)} failed:\n{output}")
        return switched or time.monotonic()

    def _serving(self) -> str | None:
        try:
            return self._client.search("white wardrobe", 1).release_id
        except ServingError:
            return None

    def threads(self) -> int:
        """Threads of one instance."""
        from serving.repository import ModelRepository

        return ModelRepository(self._workspace.serving).kept.model_settings().threads


def _change(
    steps: list[tuple[str, ...]], command: _Commands, began: float, seconds: float
) -> list[Change]:
    """Spreads the commands over the time, after a steady quarter."""
    changes = []
    for number, words in enumerate(steps):
        due = began + seconds * (0.25 + 0.7 * number / len(steps))
        time.sleep(max(0.0, due - time.monotonic()))
        start = time.monotonic()
        switched = command.run(*words)
        changes.append(Change(words[0], start - began, switched - start, time.monotonic() - began))
    return changes


class _Load:
    """Clients that search without a pause."""

    def __init__(
        self, options: argparse.Namespace, queries: list[str], letters: dict[str, str]
    ) -> None:
        self._options, self._queries, self._letters = options, queries, letters
        self.began = 0.0
        self.answers: list[Answered] = []

    def during(self, work: Callable[[float], list[Change]]) -> list[Change]:
        """Runs `work` while the clients search."""
        context = multiprocessing.get_context("spawn")
        stop, ready = context.Event(), context.Barrier(self._options.clients + 1)
        url = f"127.0.0.1:{self._options.port_base + 1}"
        with context.Pool(
            self._options.clients, initializer=_initialise, initargs=(stop, ready)
        ) as pool:
            shifts = [self._queries[n * 7 :] + self._queries for n in range(self._options.clients)]
            waiting = [pool.apply_async(_search, (url, q, self._letters)) for q in shifts]
            ready.wait(_START_TIMEOUT_S)
            self.began = time.monotonic()
            try:
                changes = work(self.began)
                rest = self.began + self._options.seconds - time.monotonic()
                time.sleep(max(0.0, rest))
            finally:
                stop.set()
            self.answers = [result.get(timeout=60) for result in waiting]
        return changes


def _initialise(stop: Any, ready: Any) -> None:
    global _STOP, _READY
    _STOP, _READY = stop, ready


def _search(url: str, queries: list[str], letters: dict[str, str]) -> Answered:
    seen = Answered([], [], [], [], [])
    number = 0
    with SearchClient(url) as client:
        for query in queries[:_WARM_UP_QUERIES]:
            client.search(query, 10)
        _READY.wait(_START_TIMEOUT_S)
        while not _STOP.is_set():
            query = queries[number % len(queries)]
            number += 1
            began = time.monotonic()
            try:
                answer = client.search(query, 10)
            except ServingError as error:
                seen.failures.append(f"{time.monotonic():.3f} {error}")
                continue
            seen.began.append(began)
            seen.milliseconds.append(1000 * (time.monotonic() - began))
            seen.release_ids.append(answer.release_id)
            letter = letters[answer.release_id]
            if any(hit.product_id.split("-")[0] != letter for hit in answer.hits):
                seen.mixed.append(f"{answer.release_id}: {answer.hits}")
    return seen


if __name__ == "__main__":
    raise SystemExit(main())
