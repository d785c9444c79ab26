"""How a training stage ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Adoption:
    """What was found of a stage that had to prove itself.

    Attributes:
        before: NDCG@10 of the validation queries with a concatenation that learnt from the towers
            before stage A or B, or from those that stage C starts from.
        after: The same after stage A or B; with the network of stage C.
    """

    before: float
    after: float

    @property
    def adopted(self) -> bool:
        """Whether what the stage made is kept."""
        return self.after >= self.before


@dataclass(frozen=True)
class StageReport:
    """How a training stage ended.

    Attributes:
        stage: Its name.
        steps: Optimizer steps taken.
        best_step: Step whose weights were kept; 0 is the start.
        validation_ndcg_at_10: Mean NDCG@10 on the validation queries at that step.
        data_wait_share: Share of the steps' time spent waiting for batches; below 0.1 in a run
            whose data path keeps up.
        seconds: Time of this call; near 0 when the result was kept from before.
        reused: Whether it was.
        adoption: Whether what the stage made is kept; None where it had to prove nothing.
    """

    stage: str
    steps: int
    best_step: int
    validation_ndcg_at_10: float
    data_wait_share: float
    seconds: float
    reused: bool
    adoption: Adoption | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any], *, seconds: float, reused: bool) -> StageReport:
        """What the record of a training (`training.json`) says in brief.

        Args:
            record: The record.
            seconds: Time of this call.
            reused: Whether the result was kept from before.
        """
        proof = record["adoptions"].get(record["stage"])
        return cls(
            stage=record["stage"],
            steps=record["steps"],
            best_step=record["best_step"],
            validation_ndcg_at_10=record["validation_ndcg_at_10"],
            data_wait_share=record["data_wait_share"],
            seconds=seconds,
            reused=reused,
            adoption=Adoption(**proof) if proof else None,
        )

    def as_metrics(self) -> dict[str, float]:
        """The figures, for a tracker."""
        metrics = {
            "steps": float(self.steps),
            "best_step": float(self.best_step),
            "validation_ndcg_at_10": self.validation_ndcg_at_10,
            "data_wait_share": self.data_wait_share,
            "seconds": self.seconds,
        }
        if self.adoption is not None:
            metrics["probe_ndcg_at_10_before"] = self.adoption.before
            metrics["probe_ndcg_at_10_after"] = self.adoption.after
            metrics["adopted"] = float(self.adoption.adopted)
        return metrics
