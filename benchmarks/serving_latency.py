"""Measures `search` through a running Triton server: text in, products out.

    python benchmarks/serving_latency.py --workspace workspace
    python benchmarks/serving_latency.py --url 127.0.0.1:8001 --queries queries.jsonl

Prints JSON: latency percentiles in milliseconds and queries per second, with one client and with
several. The clients run on the same machine as the server and share its cores. Each client is a
process of its own, so that they do not wait for each other's interpreter.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from mmr.errors import MmrError
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import ServerRecord

_WARM_UP = 50
_DEFAULT_QUERIES = (
    "white wardrobe",
    "round dining table",
    "black leather armchair with wooden legs",
    "blue striped rug",
    "floor lamp",
    "small shelf for the bathroom",
    "grey two seat sofa",
    "children's bed with drawers",
    "outdoor chair",
    "glass cabinet with led lighting",
)


def main() -> None:
    """Runs the benchmark and prints its result."""
    options = _parse()
    address, release_id = _server(options)
    queries = _queries(options.queries)
    report = {
        "release_id": release_id,
        "protocol": options.protocol,
        "k": options.k,
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "distinct_queries": len(queries),
        "clients": {
            str(clients): _measure(address, options, queries, clients)
            for clients in options.clients
        },
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--url", help="host:port; by default the workspace's server")
    parser.add_argument("--protocol", choices=("grpc", "http"), default="grpc")
    parser.add_argument("--queries", type=Path, help="JSONL with a field `query`")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="per number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    return parser.parse_args()


def _server(options: argparse.Namespace) -> tuple[str, str]:
    address = options.url
    if not address:
        server = ServerRecord(Workspace.open(options.workspace).serving).running()
        if server is None:
            raise SystemExit(f"error: no Triton of {options.workspace} runs; try `mmr serve`")
        address = server.grpc_url if options.protocol == "grpc" else server.http_url
    with SearchClient(address, protocol=options.protocol) as client:
        return address, client.search("white wardrobe", 1).release_id


def _queries(path: Path | None) -> list[str]:
    if path is None:
        return list(_DEFAULT_QUERIES)
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(json.loads(line)["query"] for line in lines if line))


def _measure(
    address: str, options: argparse.Namespace, queries: list[str], clients: int
) -> dict[str, float]:
    """Latency percentiles in ms, throughput in queries per second."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(clients)
    arguments = [
        (address, options.protocol, queries[shift % len(queries) :] + queries, options.k)
        for shift in range(clients)
    ]
    with context.Pool(clients, initializer=_initialise, initargs=(start, options.seconds)) as pool:
        runs = pool.starmap(_client, arguments, chunksize=1)
    latencies = np.concatenate([run for run in runs])
    p50, p90, p99 = np.percentile(latencies, [50, 90, 99])
    return {
        "queries": len(latencies),
        "p50_ms": round(float(p50), 3),
        "p90_ms": round(float(p90), 3),
        "p99_ms": round(float(p99), 3),
        "max_ms": round(float(latencies.max()), 3),
        "queries_per_s": round(len(latencies) / options.seconds, 1),
    }


def _initialise(start: object, seconds: float) -> None:
    global _START, _SECONDS
    _START, _SECONDS = start, seconds


def _client(address: str, protocol: str, queries: list[str], k: int) -> np.ndarray:
    """Sends one query after the other; returns each one's milliseconds."""
    latencies = []
    turn = itertools.cycle(queries)
    with SearchClient(address, protocol=protocol) as client:
        for query in itertools.islice(turn, _WARM_UP):
            client.search(query, k)
        _START.wait()
        end = time.perf_counter() + _SECONDS
        while (began := time.perf_counter()) < end:
            client.search(next(turn), k)
            latencies.append(1000 * (time.perf_counter() - began))
    return np.array(latencies)


if __name__ == "__main__":
    try:
        main()
    except MmrError as error:
        raise SystemExit(f"error: {error}") from error
