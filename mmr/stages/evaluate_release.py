"""The stage `evaluate_release`: scores any release on any query file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmr.atomic import write_json
from mmr.errors import DataContractError
from mmr.evaluation.metrics import METRIC_VERSION, mean_metrics
from mmr.evaluation.systems import SystemScores, Task, score_system
from mmr.indexing import ProductIndex
from mmr.release.bundle import INDEX, QUERY_ENCODER, Release
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.query_files import read_judgement_file, read_product_list, read_query_file
from mmr.types import Int64Array

NO_KIND = "(none)"  # where a query file gives a query no kind


def evaluate_release(
    *,
    release: Path,
    queries: Path,
    judgements: Path,
    products_only: Path | None,
    report: Path,
    split: str | None = None,
) -> dict[str, Any]:
    """Scores a release on a query file and writes the figures as JSON.

    The query encoder is the one that serves (ONNX); the search is exact, over the very vectors
    that the release's index holds, so the figures are those of the model and not of the index.

    A judged product that the release lacks counts as relevant and missed. `products_only` is
    another matter: it says what the shop has, so judgements of other products are left out and
    the best grade of a query is that of the products that remain.

    Args:
        release: A release directory.
        queries: `query_id`, `query`, optionally `kind` and `split`; CSV, TSV, JSONL or Parquet.
        judgements: `query_id`, `product_id`, `grade`; the same kinds of file.
        products_only: Product ids, one a line or as column `product_id`: all else is not ranked.
        report: JSON file to write.
        split: Scores the queries of this split alone.

    Returns:
        What `report` holds: `overall` and `by_kind` (metrics and `count`), and what was counted
        or left out on the way.

    Raises:
        DataContractError: A file breaks its form, or no query has a judged relevant product.
        ArtifactError: The release cannot be used.
    """
    opened = Release.open(release)
    opened.verify(QUERY_ENCODER, INDEX)
    asked = read_query_file(queries, split=split)
    judged = read_judgement_file(judgements)
    listed = None if products_only is None else read_product_list(products_only)
    encoder = OnnxQueryEncoder(opened.query_encoder_dir, threads=0)
    index = ProductIndex.open(
        opened.index_dir, encoder_fingerprint=encoder.fingerprint, verify=False
    )
    rows = _ranked_rows(index, listed)
    kept = judged if listed is None else judged[judged["product_id"].isin(listed)]
    task = Task.of(asked, kept, [index.product_ids[row] for row in rows.tolist()])
    _check_files_belong_together(
        task, asked=asked, judged=judged, queries=queries, judgements=judgements
    )
    result = {
        "release_id": opened.release_id,
        "encoder_fingerprint": encoder.fingerprint,
        **_figures(_scored(opened.release_id, task, encoder, index, rows), task),
        "queries": _count_queries(asked, task, split=split),
        "judgements": _count_judgements(judged, kept, asked, index.product_ids),
        "catalogue": {
            "products": len(index),
            "ranked": len(rows),
            "listed_but_missing": 0 if listed is None else len(listed) - len(rows),
        },
    }
    write_json(report, result)
    return result


def _scored(
    name: str, task: Task, encoder: OnnxQueryEncoder, index: ProductIndex, rows: Int64Array
) -> SystemScores:
    """Answers by exact search over the index's own vectors of `rows`."""
    vectors = index.vectors()
    return score_system(
        name,
        task,
        query_vectors=encoder.encode(list(task.queries["query"])),
        product_vectors=vectors if len(rows) == len(vectors) else vectors[rows],
    )


def _figures(scores: SystemScores, task: Task) -> dict[str, Any]:
    kinds = task.queries["kind"].replace("", NO_KIND).to_numpy()
    return {
        "metric_version": METRIC_VERSION,
        "overall": mean_metrics(scores.per_query),
        "by_kind": {
            kind: mean_metrics(scores.per_query[kinds == kind]) for kind in sorted(set(kinds))
        },
    }


def _ranked_rows(index: ProductIndex, listed: set[str] | None) -> Int64Array:
    rows = [row for row, name in enumerate(index.product_ids) if listed is None or name in listed]
    if not rows:
        raise DataContractError(
            f"None of the {len(listed or ())} products of --products-only is among the "
            f"{len(index)} of the release. Check that both come from the same shop."
        )
    return np.asarray(rows, dtype=np.int64)


def _count_queries(asked: pd.DataFrame, task: Task, *, split: str | None) -> dict[str, Any]:
    return {
        "split": split,
        "read": len(asked),
        "evaluated": len(task.queries),
        "without_relevant_product": len(asked) - len(task.queries),
    }


def _count_judgements(
    judged: pd.DataFrame, kept: pd.DataFrame, asked: pd.DataFrame, product_ids: list[str]
) -> dict[str, int]:
    used = kept[kept["query_id"].isin(set(asked["query_id"]))]
    return {
        "read": len(judged),
        "of_other_queries": int((~judged["query_id"].isin(set(asked["query_id"]))).sum()),
        "outside_products_only": len(judged) - len(kept),
        "of_products_not_in_release": int((~used["product_id"].isin(set(product_ids))).sum()),
    }


def _check_files_belong_together(
    task: Task, *, asked: pd.DataFrame, judged: pd.DataFrame, queries: Path, judgements: Path
) -> None:
    if not set(asked["query_id"]) & set(judged["query_id"]):
        raise DataContractError(
            f"No query_id of {judgements} (the first is {judged['query_id'].iloc[0]!r}) is one of "
            f"the {len(asked)} queries of {queries} (the first is "
            f"{asked['query_id'].iloc[0]!r}). Give the two files that belong together."
        )
    if not len(task.queries):
        raise DataContractError(
            f"No query of {queries} has a judgement above 0 in {judgements} for a product that is "
            "ranked. Give judgements of these queries, or another --products-only."
        )
    if not set(task.judgements["product_id"]) & set(task.product_ids):
        raise DataContractError(
            f"No product_id of {judgements} (the first is "
            f"{task.judgements['product_id'].iloc[0]!r}) is one of the {len(task.product_ids)} "
            f"products that are ranked (the first is {task.product_ids[0]!r}). Give the judgements "
            "of this release's shop."
        )
