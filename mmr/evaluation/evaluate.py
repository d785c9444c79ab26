"""From the scores of some systems to a decision, with everything that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import SystemComparison, compare_systems
from mmr.evaluation.examples import QueryGain, sorted_gains, wins_and_losses
from mmr.evaluation.gate import Verdict, decide
from mmr.evaluation.measured import Measured
from mmr.evaluation.slices import Slice, slice_queries
from mmr.evaluation.systems import SystemScores, Task


@dataclass(frozen=True)
class Evaluation:
    """Everything a gate decision rests on.

    Attributes:
        task: Queries, judgements and catalogue.
        candidate: The system that wants in.
        references: The systems that it is compared with; the first one decides.
        comparisons: The candidate against each reference, in the same order.
        slices: The slices.
        gains: Every query against the first reference, the largest gain first.
        measured: How the candidate will serve, and the age of the data.
        verdict: The decision.
        config: The policy.
    """

    task: Task
    candidate: SystemScores
    references: list[SystemScores]
    comparisons: list[SystemComparison]
    slices: list[Slice]
    gains: list[QueryGain]
    measured: Measured
    verdict: Verdict
    config: GateConfig

    @property
    def worst(self) -> list[QueryGain]:
        """The queries that lose most, the worst first: no more than the policy lists."""
        _, losses = wins_and_losses(self.gains, self.config.worst_queries)
        return losses


def evaluate_candidate(
    task: Task,
    *,
    candidate: SystemScores,
    references: Sequence[SystemScores],
    products: pd.DataFrame,
    same_encoder: bool,
    unscored_champion: str | None = None,
    measured: Measured,
    config: GateConfig,
) -> Evaluation:
    """Compares a candidate with its references and lets the gate decide.

    Args:
        task: What all systems answered.
        candidate: The system that wants in.
        references: The systems that it is compared with; the first one decides.
        products: What is known of each product, see `mmr.evaluation.slices.product_facts`.
        same_encoder: Whether the candidate and the first reference are one and the same encoder.
        unscored_champion: Why the champion cannot be run by this mmr, where that is so.
        measured: How the candidate will serve, and the age of the data.
        config: The policy.
    """
    slices = slice_queries(
        task.queries,
        judgements=task.judgements,
        products=products,
        sparse_text_share=config.sparse_text_share,
    )
    comparisons = [
        compare_systems(candidate, reference, slices=slices, config=config)
        for reference in references
    ]
    gains = sorted_gains(task, candidate, references[0], metric=config.primary_metric)
    verdict = decide(
        comparisons[0],
        metrics=candidate.overall(),
        gains=[gain.gain for gain in gains],
        same_encoder=same_encoder,
        unscored_champion=unscored_champion,
        measured=measured,
        config=config,
    )
    return Evaluation(
        task=task,
        candidate=candidate,
        references=list(references),
        comparisons=comparisons,
        slices=slices,
        gains=gains,
        measured=measured,
        verdict=verdict,
        config=config,
    )
