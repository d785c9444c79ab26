"""Retrieval metrics per query, computed by ir-measures on exactly our order of products.

- `recall_at_10`, `recall_at_100`: share of the query's *best-grade* products among the first k.
- `ndcg_at_10`: all grades count, gain 2^grade - 1, discount log2(rank + 1).
- `mrr_at_10`: 1 / rank of the first *best-grade* product, 0 beyond rank 10.

"Best grade" is the highest grade that the query has: 2 for `white wardrobe` if white wardrobes are
judged 2 and other wardrobes 1, but 1 for `wardrobe` where nothing is judged higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import ir_measures
import pandas as pd
from ir_measures import RR, R, nDCG

from mmr.config.gate import Metric
from mmr.errors import DataContractError
from mmr.types import Int64Array

METRICS: tuple[Metric, ...] = get_args(Metric)
METRIC_VERSION = 1  # raise when a number changes its meaning: older numbers are then not comparable
DEPTH = 100  # products ranked per query: the deepest cut-off above
MAX_GRADE = 10  # a gain of 2^grade - 1 makes higher grades a mistake rather than a scale


def relevant_judgements(judgements: pd.DataFrame) -> pd.DataFrame:
    """The judgements of each query's best grade; queries with nothing above 0 have none.

    Args:
        judgements: Columns `query_id`, `product_id`, `grade`.

    Raises:
        DataContractError: A grade lies outside 0 to `MAX_GRADE`.
    """
    outside = judgements[(judgements["grade"] < 0) | (judgements["grade"] > MAX_GRADE)]
    if len(outside):
        row = outside.iloc[0]
        raise DataContractError(
            f"Query {row['query_id']} and product {row['product_id']} have grade {row['grade']}, "
            f"but grades go from 0 (irrelevant) to {MAX_GRADE}. Map the grades to that range."
        )
    best = judgements.groupby("query_id")["grade"].transform("max")
    return judgements[(judgements["grade"] == best) & (judgements["grade"] > 0)]


def query_metrics(
    rows: Int64Array,
    *,
    query_ids: Sequence[str],
    product_ids: Sequence[str],
    judgements: pd.DataFrame,
) -> pd.DataFrame:
    """Scores a ranking, query by query.

    A relevant product that was not ranked, or that the catalogue lacks, counts as missed.

    Args:
        rows: `(queries, k)` product rows, best first, `k` at least `DEPTH` or the whole catalogue.
        query_ids: One id per row of `rows`; each must have a judgement above 0.
        product_ids: Ids of the catalogue, by product row.
        judgements: Columns `query_id`, `product_id`, `grade`.

    Returns:
        Columns `METRICS`, indexed by `query_id` in the given order.

    Raises:
        DataContractError: A query has no relevant product, or a grade is out of range.
    """
    wanted = judgements[judgements["query_id"].isin(set(query_ids))]
    graded = _nested(wanted)
    best = {
        query: dict.fromkeys(grades, 1)
        for query, grades in _nested(relevant_judgements(wanted)).items()
    }
    unjudged = [query for query in query_ids if query not in best]
    if unjudged:
        raise DataContractError(
            f"{len(unjudged)} queries have no relevant product, the first is {unjudged[0]}. "
            "Judge at least one product above 0 for each query, or leave the query out."
        )
    run = {
        query: {product_ids[row]: float(len(ranked) - rank) for rank, row in enumerate(ranked)}
        for query, ranked in zip(query_ids, rows.tolist(), strict=True)
    }  # strictly decreasing scores: trec_eval would break ties its own way
    gains = {grade: 2**grade - 1 for grade in range(MAX_GRADE + 1)}
    ndcg = nDCG(gains=gains) @ 10
    names = {R @ 10: "recall_at_10", R @ 100: "recall_at_100", RR @ 10: "mrr_at_10"}
    values = [
        *((m.query_id, names[m.measure], m.value) for m in ir_measures.iter_calc(names, best, run)),
        *((m.query_id, "ndcg_at_10", m.value) for m in ir_measures.iter_calc([ndcg], graded, run)),
    ]
    frame = pd.DataFrame(values, columns=["query_id", "metric", "value"])
    table = frame.pivot(index="query_id", columns="metric", values="value")
    return table.reindex(index=pd.Index(query_ids, name="query_id"), columns=list(METRICS))


def mean_metrics(per_query: pd.DataFrame) -> dict[str, float]:
    """Means over queries of all metrics, and the number of queries as `count`."""
    means: dict[str, float] = {name: float(per_query[name].mean()) for name in METRICS}
    return {**means, "count": len(per_query)}


def _nested(judgements: pd.DataFrame) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    columns = (judgements[name].tolist() for name in ("query_id", "product_id", "grade"))
    for query, product, grade in zip(*columns, strict=True):
        nested.setdefault(query, {})[product] = int(grade)
    return nested
