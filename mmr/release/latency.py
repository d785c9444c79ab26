"""How long the query encoder takes for one query on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmr.types import Float32Array

_WARM_UP = 10  # the first calls allocate


class QueryEncoder(Protocol):
    """Embeds queries."""

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """`(queries, dim)`."""


@dataclass(frozen=True)
class Latency:
    """Wall-clock times of single queries, milliseconds."""

    p50_ms: float
    p99_ms: float
    queries: int


def measure_latency(encoder: QueryEncoder, texts: Sequence[str], *, queries: int) -> Latency:
    """Times queries one by one, as serving meets them: text in, embedding out.

    Args:
        encoder: Ready to serve.
        texts: Real queries; asked again from the start when there are too few.
        queries: How many are timed, after some that are not.
    """
    times = np.empty(queries)
    for number in range(-_WARM_UP, queries):
        begin = time.perf_counter()
        encoder.encode([texts[number % len(texts)]])
        times[max(number, 0)] = time.perf_counter() - begin
    p50, p99 = np.percentile(times * 1e3, (50, 99))
    return Latency(float(p50), float(p99), queries)
