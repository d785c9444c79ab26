"""Does the memory of a running server stay flat? Sends many requests, good and hostile.

    python benchmarks/serving_memory.py --workspace workspace --requests 100000 --out memory.json

Measures the private memory of Triton and of its model processes (from `/proc`, pages shared with
others counted in part), and what they hold in `/dev/shm`, at ten points. Exit status 1 if memory
grew by more than the tolerance between the first tenth, after which caches are warm, and the last.
"""

import argparse
import json
import multiprocessing
import random
import sys
import time
from pathlib import Path
from typing import Any

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import RunningServer, ServerRecord

_POINTS = 10
_HOSTILE = (
    "",
    "   ",
    "\x00\x01\x02",
    "x" * 1_000_000,
    "🛋️" * 400,
    "\u202eخزانة بيضاء",
    "'; DROP TABLE products; --",
    "<script>alert(1)</script>",
    b"\xff\xfe\xfa",
)


def main() -> int:
    """Runs the benchmark; 0 if memory stayed flat."""
    options = _parse()
    server = ServerRecord(Workspace.open(options.workspace).serving).running()
    if server is None:
        raise SystemExit(f"error: no Triton of {options.workspace} runs; try `mmr serve`")
    began, points = time.monotonic(), []
    for done in range(1, _POINTS + 1):
        refused = _send(server.grpc_url, options.requests // _POINTS, options.clients, tenth=done)
        points.append(
            {"requests": done * options.requests // _POINTS, "refused": refused} | _memory(server)
        )
        sys.stderr.write(f"{json.dumps(points[-1])}\n")
    first, last = points[0]["private_mb"], points[-1]["private_mb"]
    report = {
        "passed": last - first <= options.tolerance_mb,
        "requests": options.requests,
        "clients": options.clients,
        "seconds": round(time.monotonic() - began, 1),
        "grew_mb": round(last - first, 1),
        "tolerance_mb": options.tolerance_mb,
        "points": points,
    }
    text = json.dumps(report, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if report["passed"] else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--tolerance-mb", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _send(url: str, requests: int, clients: int, *, tenth: int) -> int:
    """Sends requests from several processes; the number that was refused."""
    seeds = range(tenth * clients, (tenth + 1) * clients)
    with multiprocessing.get_context("spawn").Pool(clients) as pool:
        return sum(pool.starmap(_client, [(url, requests // clients, seed) for seed in seeds]))


def _client(url: str, requests: int, seed: int) -> int:
    draw = random.Random(seed)
    refused = 0
    with SearchClient(url) as client:
        for _ in range(requests):
            try:
                client.search(*_request(draw))
            except ServingError:
                refused += 1
                if not client.ready():
                    raise
    return refused


def _request(draw: random.Random) -> tuple[str | bytes, int]:
    """Nine in ten are queries, no two alike; one in ten is hostile."""
    if draw.random() < 0.9:
        words = draw.choices(("white", "oak", "sofa", "lamp", "bed", "round", "small"), k=3)
        return " ".join([*words, str(draw.randrange(10**6))]), draw.choice((1, 10, 10, 100))
    return draw.choice(_HOSTILE), draw.choice((10, 0, -1, 10**9))


def _memory(server: RunningServer) -> dict[str, Any]:
    """Megabytes of the server's process group, by kind."""
    pids = [server.pid, *_children(server.pid)]
    private = sum(_rollup(pid, "Pss_Anon") for pid in pids)
    shared = sum(_rollup(pid, "Pss_Shmem") for pid in pids)
    return {
        "processes": len(pids),
        "private_mb": round(private / 1000, 1),
        "shared_memory_mb": round(shared / 1000, 1),
    }


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def _rollup(pid: int, name: str) -> int:
    """Kilobytes of one line of `smaps_rollup`; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


if __name__ == "__main__":
    raise SystemExit(main())
