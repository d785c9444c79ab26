"""How well the validation queries are answered: what decides which step of a training is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass


@dataclass(frozen=True)
class Figures:
    """Means over the validation queries; larger is better.

    Attributes:
        ndcg_at_10: Of the first page: what training looks for.
        recall_at_10: Share of the relevant products on the first page.
        recall_at_100: Share among what a ranker would be given.
    """

    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float

    @classmethod
    def none_yet(cls) -> Figures:
        """What every measurement is better than."""
        return cls(-math.inf, -math.inf, -math.inf)

    def reach(self, floor: Figures | None) -> bool:
        """Whether no figure is below that of the floor; without one always."""
        pairs = zip(astuple(self), astuple(floor), strict=True) if floor else ()
        return all(value >= least for value, least in pairs)

    def beat(self, best: Figures, *, floor: Figures | None) -> bool:
        """Whether these are to be preferred: they alone reach the floor, or have more NDCG@10.

        Args:
            best: The best so far.
            floor: What none of them should be below.
        """
        if self.reach(floor) != best.reach(floor):
            return self.reach(floor)
        return self.ndcg_at_10 > best.ndcg_at_10

    def named(self, prefix: str = "") -> dict[str, float]:
        """By name, for records and trackers.

        Args:
            prefix: Before each name.
        """
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, record: Mapping[str, float], prefix: str = "") -> Figures:
        """From a record of `named` and others."""
        return cls(*(record[f"{prefix}{name}"] for name in cls.__dataclass_fields__))

    def __str__(self) -> str:
        return (
            f"NDCG@10 {self.ndcg_at_10:.4f}, Recall@10 {self.recall_at_10:.4f}, "
            f"Recall@100 {self.recall_at_100:.4f}"
        )
