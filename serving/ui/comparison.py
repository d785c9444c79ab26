"""Two answers to one query, side by side, with what changed its place."""

from dataclasses import asdict, dataclass
from typing import Any

from serving.client import SearchAnswer
from serving.ui.weights import ProductWeights, ReleaseWeights

DEPTH = 100
"""Products that each side is asked for; a change of rank is known down to here."""


@dataclass(frozen=True)
class ShownProduct:
    """One product of a list.

    Attributes:
        other_rank: Its rank in the other list; None where it is not among the first `DEPTH`.
        weights: Shares of text and image in its vector, where the release states them.
    """

    rank: int
    score: float
    product_id: str
    title: str
    other_rank: int | None
    weights: ProductWeights | None


@dataclass(frozen=True)
class ShownList:
    """One side of the page.

    Attributes:
        release_id: The release that answered; empty where none did.
        milliseconds: What the answer took, as the page's server saw it.
        note: Why the products have no weights; usually empty.
        error: Why there is no answer; usually empty.
    """

    release_id: str
    milliseconds: float
    products: list[ShownProduct]
    note: str = ""
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


@dataclass(frozen=True)
class TimedAnswer:
    """An answer and its milliseconds, or why there is none."""

    answer: SearchAnswer | None
    milliseconds: float
    error: str = ""


def shown_list(
    asked: TimedAnswer, other: TimedAnswer | None, *, shown: int, weights: ReleaseWeights
) -> ShownList:
    """Prepares one side of the page.

    Args:
        asked: This side's answer.
        other: The other side's; None where nothing is compared.
        shown: Products to show.
        weights: Where the products' weights are read.
    """
    if asked.answer is None:
        return ShownList("", asked.milliseconds, [], error=asked.error)
    hits = asked.answer.hits[:shown]
    known, note = weights.of(asked.answer.release_id, [hit.product_id for hit in hits])
    ranks = {} if other is None or other.answer is None else _ranks(other.answer)
    products = [
        ShownProduct(
            rank=hit.rank,
            score=hit.score,
            product_id=hit.product_id,
            title=hit.title,
            other_rank=ranks.get(hit.product_id),
            weights=known.get(hit.product_id),
        )
        for hit in hits
    ]
    return ShownList(asked.answer.release_id, asked.milliseconds, products, note=note)


def _ranks(answer: SearchAnswer) -> dict[str, int]:
    return {hit.product_id: hit.rank for hit in answer.hits}
