"""Systems under comparison: who ranked what for which query, and how good it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmr.evaluation.metrics import DEPTH, mean_metrics, query_metrics, relevant_judgements
from mmr.evaluation.ranking import exact_search
from mmr.evaluation.slices import Slice
from mmr.types import Float32Array, Int64Array


@dataclass(frozen=True)
class Task:
    """What every system has to answer: the same queries over the same catalogue.

    Attributes:
        queries: Columns `query_id`, `query`, `kind`; each has at least one relevant product.
        judgements: Columns `query_id`, `product_id`, `grade`, of those queries alone.
        product_ids: The catalogue, by product row.
    """

    queries: pd.DataFrame
    judgements: pd.DataFrame
    product_ids: list[str]

    @classmethod
    def of(
        cls, queries: pd.DataFrame, judgements: pd.DataFrame, product_ids: Sequence[str]
    ) -> Task:
        """Keeps the queries that have a relevant product, and their judgements."""
        relevant = set(relevant_judgements(judgements)["query_id"])
        kept = queries[queries["query_id"].isin(relevant)].reset_index(drop=True)
        judged = judgements[judgements["query_id"].isin(set(kept["query_id"]))]
        return cls(kept, judged.reset_index(drop=True), list(product_ids))

    @property
    def query_ids(self) -> list[str]:
        """Ids of the queries, in order."""
        return list(self.queries["query_id"])


@dataclass(frozen=True)
class SystemScores:
    """How one system did.

    Attributes:
        name: For people, for example `tuned text-only`.
        rows: `(queries, k)` product rows, best first.
        per_query: Columns `METRICS`, indexed by `query_id`.
    """

    name: str
    rows: Int64Array
    per_query: pd.DataFrame

    def overall(self) -> dict[str, float]:
        """Means over all queries, and `count`."""
        return mean_metrics(self.per_query)

    def by_slice(self, slices: Sequence[Slice]) -> dict[str, dict[str, float]]:
        """Means over each slice's queries, and `count`."""
        return {part.name: mean_metrics(self.per_query.loc[part.query_ids]) for part in slices}


def score_system(
    name: str, task: Task, *, query_vectors: Float32Array, product_vectors: Float32Array
) -> SystemScores:
    """Ranks the whole catalogue for every query of a task and scores the rankings.

    Args:
        name: For people.
        task: Queries, judgements and catalogue.
        query_vectors: `(queries, dim)`, in the order of the task.
        product_vectors: `(products, dim)`, in the order of the task.

    Raises:
        ArtifactError: The two sides differ in dimension, or hold values that are not finite.
    """
    rows, _ = exact_search(query_vectors, product_vectors, DEPTH)
    per_query = query_metrics(
        rows,
        query_ids=task.query_ids,
        product_ids=task.product_ids,
        judgements=task.judgements,
    )
    return SystemScores(name, rows, per_query)
