"""Scores a model on the validation queries, whole or with something taken away; kept by content."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mmr.ablation.rungs import View
from mmr.atomic import write_json
from mmr.data.dataset import Dataset
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.evaluation.systems import Task, score_system
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import ProductTower, embed_products, embed_queries
from mmr.types import Float32Array

VIEW_VERSION = 1  # raise when a view changes its meaning


def measure(model: Path, dataset: Dataset, task: Task, *, view: View, cache: Path) -> pd.DataFrame:
    """Metrics per query of a model, or what is kept of before.

    Args:
        model: A model directory.
        dataset: The dataset of the task.
        task: Queries, judgements and catalogue.
        view: What is taken away.
        cache: The workspace's cache.

    Returns:
        Columns `METRICS`, indexed by `query_id` in the order of the task.
    """
    fingerprint = encoder_fingerprint(model)
    identity = {
        "fingerprint": fingerprint,
        "dataset": dataset.manifest.content_hash,
        "view": view.value,
        "metric_version": METRIC_VERSION,
        "view_version": VIEW_VERSION,
    }
    name = f"{fingerprint[:24]}-{dataset.manifest.content_hash[:24]}-{view}.json"
    kept = cache / "measurements" / name
    if kept.is_file():
        record = json.loads(kept.read_text(encoding="utf-8"))
        if record["identity"] == identity and record["query_ids"] == task.query_ids:
            return _frame(record["query_ids"], record["metrics"])
    queries, products = _vectors(model, dataset, task, view=view, cache=cache)
    scores = score_system(view, task, query_vectors=queries, product_vectors=products).per_query
    metrics: dict[str, list[float]] = {metric: scores[metric].tolist() for metric in METRICS}
    write_json(kept, {"identity": identity, "query_ids": task.query_ids, "metrics": metrics})
    return _frame(task.query_ids, metrics)


def _frame(query_ids: list[str], metrics: dict[str, list[float]]) -> pd.DataFrame:
    index = pd.Index(query_ids, name="query_id")
    return pd.DataFrame(metrics, index=index, columns=list(METRICS))


def _vectors(
    model: Path, dataset: Dataset, task: Task, *, view: View, cache: Path
) -> tuple[Float32Array, Float32Array]:
    queries = embed_queries(model, list(task.queries["query"]), cache=cache)
    if view in (View.NO_IMAGES, View.NO_TEXT):
        tower = ProductTower.open(model, dataset, cache=cache)
        image, text = view is not View.NO_IMAGES, view is not View.NO_TEXT
        return queries, tower.vectors(range(len(tower)), text=text, image=image)
    embedded = embed_products(model, dataset, cache=cache)
    products = np.asarray(embedded.vectors, dtype=np.float32)
    if view is View.HALF_DIMS:
        return first_half(queries), first_half(products)
    if view is View.INT8:
        return queries, rounded_to_int8(products)
    return queries, products


def first_half(vectors: Float32Array) -> Float32Array:
    """The first half of the dimensions at unit length again, `(rows, dim // 2)`.

    Source: Matryoshka representations (arXiv:2205.13147).
    """
    half = vectors[:, : vectors.shape[1] // 2]
    lengths = np.linalg.norm(half, axis=1, keepdims=True)
    shortened: Float32Array = (half / np.maximum(lengths, 1e-12)).astype(np.float32)
    return shortened


def rounded_to_int8(vectors: Float32Array) -> Float32Array:
    """Vectors as an int8 store gives them back: each scaled to -127..127, rounded, scaled back."""
    scales = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12) / 127
    codes = np.rint(vectors / scales).astype(np.int8)
    restored: Float32Array = (codes * scales).astype(np.float32)
    return restored
