"""What do links and build effort of an HNSW graph cost, and what do they bring?

    python benchmarks/index_build.py VECTORS --out reports/index-build

VECTORS is a directory that `embed_catalogue` or `embed_changes` wrote, below
`WORKSPACE/pipeline-runs/artifacts`. Builds the graph in one thread with several settings and
searches with the query vectors that lie beside; recall is that of the exact 100 nearest. Decided
the defaults of `hnsw_neighbours` and `hnsw_build_effort`: every refresh builds, every query
searches.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmr.atomic import write_json
from mmr.config.index import IndexConfig, IndexKind
from mmr.indexing import kinds
from mmr.indexing.vectors import read_query_vectors, read_vectors

_SETTINGS = ((32, 80), (32, 48), (24, 80), (24, 64), (24, 48), (16, 80), (16, 48))
_EFFORTS = (64, 128, 256)
_DEPTH, _TIE = 100, 1e-6


def main() -> int:
    """Runs the benchmark and prints a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path, help="a directory of product and query vectors")
    parser.add_argument("--out", type=Path, default=Path("reports/index-build"))
    options = parser.parse_args()
    vectors = np.ascontiguousarray(read_vectors(options.vectors).vectors)
    queries = read_query_vectors(options.vectors / "queries.npy", dim=vectors.shape[1])
    with kinds.threads(1):
        exact = kinds.build(IndexKind.FLAT, vectors, IndexConfig())
        least = exact.search(queries, _DEPTH)[0][:, -1:] - _TIE
        rows = [_measure(vectors, queries, least, *setting) for setting in _SETTINGS]
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "index_build.json", {"products": len(vectors), "settings": rows})
    return 0


def _measure(
    vectors: np.ndarray, queries: np.ndarray, least: np.ndarray, neighbours: int, effort: int
) -> dict[str, Any]:
    settings = IndexConfig(hnsw_neighbours=neighbours, hnsw_build_effort=effort)
    began = time.perf_counter()
    index = kinds.build(IndexKind.HNSW, vectors, settings)
    build_s = time.perf_counter() - began
    row: dict[str, Any] = {"neighbours": neighbours, "effort": effort, "build_s": round(build_s, 1)}
    for search_effort in _EFFORTS:
        kinds.set_search_effort(IndexKind.HNSW, index, search_effort)
        recall = float(np.mean(index.search(queries, _DEPTH)[0] >= least))
        times = [_query_ms(index, query) for query in queries]
        row[f"search_{search_effort}"] = [round(recall, 4), round(statistics.median(times), 3)]
    sys.stdout.write(f"{row}\n")
    return row


def _query_ms(index: Any, query: np.ndarray) -> float:
    began = time.perf_counter()
    index.search(query[None], _DEPTH)
    return 1e3 * (time.perf_counter() - began)


if __name__ == "__main__":
    raise SystemExit(main())
