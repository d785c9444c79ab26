"""Which queries a report shows: the largest wins and losses, with what stood on top."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from PIL import Image, UnidentifiedImageError

from mmr.config.gate import Metric
from mmr.evaluation.metrics import relevant_judgements
from mmr.evaluation.modalities import ExampleScores, ModalityScores
from mmr.evaluation.systems import SystemScores, Task

TOP = 5
THUMBNAIL_PX = 96
_JPEG_QUALITY = 78


@dataclass(frozen=True)
class QueryGain:
    """One query and what the candidate changed.

    Attributes:
        row: Position in the task.
        query: Its text.
        kind: Its kind, maybe empty.
        reference: Primary metric of the reference.
        candidate: Primary metric of the candidate.
    """

    row: int
    query_id: str
    query: str
    kind: str
    reference: float
    candidate: float

    @property
    def gain(self) -> float:
        """Candidate minus reference."""
        return self.candidate - self.reference


@dataclass(frozen=True)
class ShownProduct:
    """A product of a top list.

    Attributes:
        product_id: The shop's id.
        title: Its title, maybe empty.
        picture: A `data:` URI, or None without an image that can be shown.
        grade: Its judged grade; 0 when irrelevant or not judged.
        best: Whether that is the query's best grade.
        scores: The candidate's, by text alone, image alone and both; None where nobody computed
            them.
    """

    product_id: str
    title: str
    picture: str | None
    grade: int
    best: bool
    scores: ModalityScores | None


@dataclass(frozen=True)
class Example:
    """A query with the first products of both systems."""

    gain: QueryGain
    reference: list[ShownProduct]
    candidate: list[ShownProduct]


def sorted_gains(
    task: Task, candidate: SystemScores, reference: SystemScores, *, metric: Metric
) -> list[QueryGain]:
    """All queries of a task, the largest gain first; equal gains in the order of the task."""
    columns = (
        task.queries["query_id"],
        task.queries["query"],
        task.queries["kind"],
        reference.per_query[metric],
        candidate.per_query[metric],
    )
    gains = [
        QueryGain(row, str(query_id), str(query), str(kind or ""), float(old), float(new))
        for row, (query_id, query, kind, old, new) in enumerate(zip(*columns, strict=True))
    ]
    return sorted(gains, key=lambda gain: -gain.gain)


def wins_and_losses(gains: list[QueryGain], count: int) -> tuple[list[QueryGain], list[QueryGain]]:
    """The `count` largest gains above 0, and the largest losses, each the extreme one first."""
    wins = [gain for gain in gains if gain.gain > 0][:count]
    losses = [gain for gain in reversed(gains) if gain.gain < 0][:count]
    return wins, losses


def top_product_ids(task: Task, system: SystemScores, row: int) -> list[str]:
    """Ids of the first `TOP` products of one query."""
    return [task.product_ids[product] for product in system.rows[row, :TOP].tolist()]


def build_example(
    gain: QueryGain,
    task: Task,
    *,
    candidate: SystemScores,
    reference: SystemScores,
    titles: Mapping[str, str],
    pictures: Mapping[str, str],
    scores: ExampleScores,
) -> Example:
    """Puts one query's top products side by side.

    Args:
        gain: The query.
        task: Queries, judgements and catalogue.
        candidate: The candidate's rankings.
        reference: The reference's rankings.
        titles: Title by product id.
        pictures: `data:` URI by product id, for those that have one.
        scores: The candidate's, by query id and product id.
    """
    judged = task.judgements[task.judgements["query_id"] == gain.query_id]
    grades = dict(zip(judged["product_id"], judged["grade"], strict=True))
    best: set[str] = set(_ids(relevant_judgements(judged)))

    def shown(system: SystemScores) -> list[ShownProduct]:
        return [
            ShownProduct(
                product_id=product_id,
                title=titles.get(product_id, ""),
                picture=pictures.get(product_id),
                grade=int(grades.get(product_id, 0)),
                best=product_id in best,
                scores=scores.get((gain.query_id, product_id)),
            )
            for product_id in top_product_ids(task, system, gain.row)
        ]

    return Example(gain, reference=shown(reference), candidate=shown(candidate))


def thumbnail(data: bytes) -> str | None:
    """A `data:` URI of a small JPEG, or None when the bytes are no image that can be shown."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
            small = image.convert("RGBA")
            small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    flat = Image.new("RGB", small.size, "white")
    flat.paste(small, mask=small.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _ids(judgements: pd.DataFrame) -> list[str]:
    return [str(product) for product in judgements["product_id"]]
