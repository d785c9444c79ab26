"""Whether the exported query encoder answers as the trained one does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mmr.atomic import write_json
from mmr.config.gate import MAX_PARITY_DISTANCE
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.types import Float32Array, Int64Array

PARITY_FILE = "parity.json"
TOP_K = 10
SCORE_TIE = 1e-5
_BLOCK_SCORES = 1 << 26  # scores held at once: 256 MB


@dataclass(frozen=True)
class ParityReport:
    """How close the two encoders are.

    Attributes:
        queries: Queries compared.
        max_cosine_distance: Largest 1 - cosine between the two embeddings of a query.
        farthest: The query of which that is true.
        max_rank_gap: Largest difference in score at one rank of the two top lists; a tie when tiny.
        most_changed: The query of which that is true.
        changed: Queries whose two top lists differ by more than ties.
    """

    queries: int
    max_cosine_distance: float
    farthest: str
    max_rank_gap: float
    most_changed: str
    changed: int

    def write(self, evidence: Path) -> None:
        """Keeps the report in a release under construction, to two digits."""
        rounded = {
            name: float(f"{value:.1e}") if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
        write_json(evidence / PARITY_FILE, rounded)

    @classmethod
    def read(cls, evidence: Path) -> Self | None:
        """Reads the report of a release; None where it keeps none.

        Raises:
            CorruptArtifactError: It cannot be read.
        """
        path = evidence / PARITY_FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error}). Restore the release from a copy."
            ) from error


def measure_parity(
    *,
    texts: Sequence[str],
    reference: Float32Array,
    exported: Float32Array,
    products: Float32Array,
    top_k: int = TOP_K,
) -> ParityReport:
    """Compares two encoders on real queries, by their vectors and by what they find.

    The same top products means: at every rank, the product that the exported encoder finds scores,
    *by the reference's own scores*, within 1e-5 of the product that the reference has at that rank.
    Products that tie may thus swap places; nothing else may change.

    Args:
        texts: The queries.
        reference: `(queries, dim)`, unit length, of the trained encoder.
        exported: The same queries through the exported one.
        products: `(products, dim)`, unit length.
        top_k: Ranks compared.

    Raises:
        ArtifactError: The two sides are not of the same queries.
    """
    if reference.shape != exported.shape or len(texts) != len(reference) or not len(texts):
        raise ArtifactError(
            f"Parity needs the same queries on both sides: {len(texts)} texts, reference "
            f"{reference.shape}, exported {exported.shape}."
        )
    distances = _cosine_distances(reference, exported)
    gaps = _rank_gaps(reference, exported, products, min(top_k, len(products)))
    return ParityReport(
        queries=len(texts),
        max_cosine_distance=float(distances.max()),
        farthest=texts[int(np.argmax(distances))],
        max_rank_gap=float(gaps.max()),
        most_changed=texts[int(np.argmax(gaps))],
        changed=int(np.count_nonzero(~(gaps <= SCORE_TIE))),
    )


def check_parity(
    report: ParityReport, *, max_cosine_distance: float = MAX_PARITY_DISTANCE
) -> ParityReport:
    """Refuses an export that differs; otherwise returns what it was given.

    Args:
        report: Of `measure_parity`.
        max_cosine_distance: Largest 1 - cosine allowed.

    Raises:
        ArtifactError: A query is beyond the tolerance; the worst one is named.
    """
    if not report.max_cosine_distance <= max_cosine_distance:
        raise ArtifactError(
            f"The exported query encoder differs from the trained one: cosine distance "
            f"{report.max_cosine_distance:.2e} for the query {report.farthest!r}, allowed is "
            f"{max_cosine_distance:.0e}. Do not serve it; check the ONNX export."
        )
    if report.changed:
        raise ArtifactError(
            f"The exported query encoder finds other products than the trained one for "
            f"{report.changed} of {report.queries} queries: for {report.most_changed!r} a score in "
            f"the top list is off by {report.max_rank_gap:.2e}, ties count up to {SCORE_TIE:.0e}. "
            "Do not serve it; check the ONNX export."
        )
    return report


def _cosine_distances(a: Float32Array, b: Float32Array) -> Float32Array:
    """`(queries,)`; by the difference vector, which stays exact for tiny angles."""
    distances: Float32Array = np.square(a.astype(np.float64) - b).sum(axis=1) / 2
    return np.nan_to_num(distances, nan=np.inf)


def _rank_gaps(
    reference: Float32Array, exported: Float32Array, products: Float32Array, k: int
) -> Float32Array:
    """Largest difference over the ranks between the reference scores of the two top lists."""
    gaps = np.empty(len(reference), dtype=np.float32)
    step = max(1, _BLOCK_SCORES // len(products))
    for start in range(0, len(reference), step):
        rows = slice(start, start + step)
        scores = reference[rows] @ products.T
        wanted = np.take_along_axis(scores, _top(scores, k), axis=1)
        found = np.take_along_axis(scores, _top(exported[rows] @ products.T, k), axis=1)
        gaps[rows] = np.abs(wanted - found).max(axis=1)
    return gaps


def _top(scores: Float32Array, k: int) -> Int64Array:
    """Columns of the `k` best scores of each row, best first."""
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    columns: Int64Array = np.take_along_axis(best, order, axis=1)
    return columns
