"""How a training stage ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmr.training.blending import WITH_START, WITH_TEXT, kept_share
from mmr.training.figures import Figures


@dataclass(frozen=True)
class Adoption:
    """What was found of a stage that had to prove itself.

    Attributes:
        before: Figures of the validation queries with a concatenation that learnt from the towers
            before stage A or B, or from those that stage C starts from.
        after: The same after stage A or B; with the network of stage C.
    """

    before: Figures
    after: Figures

    @property
    def adopted(self) -> bool:
        """Whether what the stage made is kept: no figure is below what it was."""
        return self.after.reach(self.before)

    @classmethod
    def of(cls, record: Mapping[str, Mapping[str, float]]) -> Adoption:
        """What a record of a training says of a stage."""
        return cls(before=Figures.of(record["before"]), after=Figures.of(record["after"]))


@dataclass(frozen=True)
class StageReport:
    """How a training stage ended.

    Attributes:
        stage: Its name.
        steps: Optimizer steps taken.
        best_step: Step whose weights were kept; 0 is the start.
        validation: Figures of the validation queries at that step.
        data_wait_share: Share of the steps' time spent waiting for batches; below 0.1 in a run
            whose data path keeps up.
        seconds: Time of this call; near 0 when the result was kept from before.
        reused: Whether it was.
        adoption: Whether what the stage made is kept; None where it had to prove nothing.
        share: Of what a fusion learnt that was kept, the rest is its start; None where all was.
        drawn_back: The same of a concatenation whose rest is the text alone.
    """

    stage: str
    steps: int
    best_step: int
    validation: Figures
    data_wait_share: float
    seconds: float
    reused: bool
    adoption: Adoption | None = None
    share: float | None = None
    drawn_back: float | None = None

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
            validation=Figures.of(record, "validation_"),
            data_wait_share=record["data_wait_share"],
            seconds=seconds,
            reused=reused,
            adoption=Adoption.of(proof) if proof else None,
            share=kept_share(record, WITH_START),
            drawn_back=kept_share(record, WITH_TEXT),
        )

    def as_metrics(self) -> dict[str, float]:
        """The figures, for a tracker."""
        metrics = {
            "steps": float(self.steps),
            "best_step": float(self.best_step),
            **self.validation.named("validation_"),
            "data_wait_share": self.data_wait_share,
            "seconds": self.seconds,
        }
        kept = {"share": self.share, "drawn_back": self.drawn_back}
        metrics |= {name: value for name, value in kept.items() if value is not None}
        if self.adoption is not None:
            for name, figures in (("before", self.adoption.before), ("after", self.adoption.after)):
                metrics |= {
                    f"{key}_{name}": value for key, value in figures.named("probe_").items()
                }
            metrics["adopted"] = float(self.adoption.adopted)
        return metrics
