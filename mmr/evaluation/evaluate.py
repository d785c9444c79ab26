"""From the scores of some systems to a decision, with everything that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import SystemComparison, compare_systems
from mmr.evaluation.gate import Verdict, decide
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
        verdict: The decision.
        config: The policy.
    """

    task: Task
    candidate: SystemScores
    references: list[SystemScores]
    comparisons: list[SystemComparison]
    slices: list[Slice]
    verdict: Verdict
    config: GateConfig


def evaluate_candidate(
    task: Task,
    *,
    candidate: SystemScores,
    references: Sequence[SystemScores],
    products: pd.DataFrame,
    same_encoder: bool,
    config: GateConfig,
) -> Evaluation:
    """Compares a candidate with its references and lets the gate decide.

    Args:
        task: What all systems answered.
        candidate: The system that wants in.
        references: The systems that it is compared with; the first one decides.
        products: What is known of each product, see `mmr.evaluation.slices.product_facts`.
        same_encoder: Whether the candidate and the first reference are one and the same encoder.
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
    verdict = decide(
        comparisons[0], metrics=candidate.overall(), same_encoder=same_encoder, config=config
    )
    return Evaluation(
        task=task,
        candidate=candidate,
        references=list(references),
        comparisons=comparisons,
        slices=slices,
        verdict=verdict,
        config=config,
    )
