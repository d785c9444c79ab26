"""Golden queries: what a release answered when it was registered, compared with what it serves."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmr.errors import ServingError
from mmr.release.bundle import GoldenQuery
from mmr.types import Float32Array
from serving.client import SearchClient
from serving.settings import DeploySettings

_TIE = 1e-4  # two products whose scores differ by less may change places
_DIFFERENT = (
    "Register the release again, or check that the Triton environment has the pinned versions "
    "(`make setup`)."
)


@dataclass(frozen=True)
class GoldenReport:
    """How the served release compares with its record.

    Attributes:
        release_id: The release that answered.
        queries: Number of golden queries.
        max_cosine_distance: Worst query.
        min_overlap: Share of the recorded products found, worst query; ties count as found.
        median_ms: Median milliseconds of one search.
    """

    release_id: str
    queries: int
    max_cosine_distance: float
    min_overlap: float
    median_ms: float


def verify(
    client: SearchClient,
    golden: Sequence[GoldenQuery],
    *,
    release_id: str,
    settings: DeploySettings,
) -> GoldenReport:
    """Sends the golden queries and compares the answers with the record.

    Raises:
        ServingError: Another release answered, or an answer differs by more than allowed; the
            message names the query and both values.
    """
    embeddings = client.embed([query.text for query in golden])
    _check_release(embeddings.release_id, release_id)
    distances = [
        _cosine_distance(np.asarray(query.embedding, dtype=np.float32), vector)
        for query, vector in zip(golden, embeddings.vectors, strict=True)
    ]
    overlaps, milliseconds = [], []
    for query in golden:
        start = time.perf_counter()
        answer = client.search(query.text, k=len(query.product_ids))
        milliseconds.append(1000 * (time.perf_counter() - start))
        _check_release(answer.release_id, release_id)
        overlaps.append(_overlap(query, [(hit.product_id, hit.score) for hit in answer.hits]))
    report = GoldenReport(
        release_id=release_id,
        queries=len(golden),
        max_cosine_distance=max(distances),
        min_overlap=min(overlaps),
        median_ms=statistics.median(milliseconds),
    )
    _check(report, golden, distances, overlaps, settings)
    return report


def _check(
    report: GoldenReport,
    golden: Sequence[GoldenQuery],
    distances: Sequence[float],
    overlaps: Sequence[float],
    settings: DeploySettings,
) -> None:
    problems = []
    if not report.max_cosine_distance <= settings.max_cosine_distance:  # NaN is a problem too
        worst = golden[int(np.argmax(distances))].text
        problems.append(
            f"the embedding of {worst!r} is {report.max_cosine_distance:.2g} (cosine distance) "
            f"away from the recorded one, allowed is {settings.max_cosine_distance:.2g}"
        )
    if report.min_overlap < settings.min_overlap:
        worst = golden[int(np.argmin(overlaps))].text
        problems.append(
            f"only {report.min_overlap:.0%} of the recorded products came back for {worst!r}, "
            f"required are {settings.min_overlap:.0%}"
        )
    if report.median_ms > settings.max_median_ms:
        problems.append(
            f"the median search took {report.median_ms:.1f} ms, "
            f"allowed are {settings.max_median_ms:.1f} ms"
        )
    if problems:
        answers_differ = len(problems) > 1 or report.median_ms <= settings.max_median_ms
        raise ServingError(
            f"Release {report.release_id} failed its {report.queries} golden queries: "
            f"{'; '.join(problems)}. It gets no traffic. "
            f"{_DIFFERENT if answers_differ else _slow()}"
        )


def _slow() -> str:
    return (
        f"The load of this machine is {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: deploy "
        "when other work is done, or allow more by `mmr deploy --max-median-ms`."
    )


def _check_release(answered: str, expected: str) -> None:
    if answered != expected:
        raise ServingError(
            f"Release {answered} answered where {expected} was to be verified. Deploy again."
        )


def _cosine_distance(first: Float32Array, second: Float32Array) -> float:
    if first.shape != second.shape:
        raise ServingError(
            f"The served embedding has {second.shape[0]} dimensions, the recorded one "
            f"{first.shape[0]}. Register the release again."
        )
    a, b = first.astype(np.float64), second.astype(np.float64)
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _overlap(query: GoldenQuery, found: Sequence[tuple[str, float]]) -> float:
    """Share of the places filled rightly: by a recorded product, or by one that ties with them."""
    if not query.product_ids:
        return 1.0
    recorded = set(query.product_ids)
    right = sum(
        product_id in recorded or score >= query.scores[-1] - _TIE for product_id, score in found
    )
    return min(1.0, right / len(query.product_ids))
