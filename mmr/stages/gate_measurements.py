"""What the gate measures of a candidate beside its rankings: index, export, speed, age of data."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.errors import IndexMismatchError
from mmr.evaluation.measured import DataAge, Measured, ServingFigures
from mmr.indexing import ProductIndex
from mmr.release.exam import evenly
from mmr.release.latency import measure_latency
from mmr.release.parity import TOP_K, measure_parity
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.release_proof import PARITY_QUERIES
from mmr.types import Float32Array

RECALL_DEPTH = 100
_SCORE_TIE = 1e-6  # products as near as the last exact one are as good an answer


def measure_candidate(
    data: Dataset,
    *,
    model: Path,
    fingerprint: str,
    index: Path,
    texts: list[str],
    query_vectors: Float32Array,
    config: GateConfig,
) -> Measured:
    """Measures everything that the policy looks at beside rankings.

    Args:
        data: The dataset of the evaluation.
        model: Model directory of the candidate.
        fingerprint: Of its encoder.
        index: Directory written by `build_index` with its vectors.
        texts: The evaluated queries.
        query_vectors: `(queries, dim)`, of the trained encoder, on which the metrics rest.
        config: The policy.

    Raises:
        IndexMismatchError: The index belongs to another encoder or dataset.
        ArtifactError: Index or export cannot be used.
    """
    opened = ProductIndex.open(index, encoder_fingerprint=fingerprint, threads=1)
    if opened.manifest.dataset_hash != data.manifest.content_hash:
        raise IndexMismatchError(
            f"Index {index} was built from dataset {opened.manifest.dataset_hash}, but {data.path} "
            f"is {data.manifest.content_hash}. Embed and index this dataset."
        )
    chosen = evenly(list(range(len(texts))), PARITY_QUERIES)
    asked = [texts[row] for row in chosen]
    with tempfile.TemporaryDirectory() as scratch:
        encoder = _export(model, Path(scratch) / "query_encoder", fingerprint)
        parity = measure_parity(
            texts=asked,
            reference=query_vectors[chosen],
            exported=encoder.encode(asked),
            products=opened.vectors(),
            top_k=TOP_K,
        )
        latency = measure_latency(encoder, asked, queries=config.latency_queries)
    return Measured(
        serving=ServingFigures(
            index_recall=index_recall(opened, query_vectors),
            index_queries=len(texts),
            parity_distance=parity.max_cosine_distance,
            parity_changed=parity.changed,
            parity_queries=parity.queries,
            latency_p50_ms=latency.p50_ms,
            latency_p99_ms=latency.p99_ms,
            latency_queries=latency.queries,
        ),
        data_age=data_age(data, attribute=config.freshness_attribute, now=datetime.now(UTC)),
    )


def index_recall(index: ProductIndex, queries: Float32Array) -> float:
    """Share of the exact best products that the index finds; equal scores count as found."""
    _, found = index.search(queries, RECALL_DEPTH)
    _, exact = index.exact_search(queries, RECALL_DEPTH)
    return float(np.mean(found >= exact[:, -1:] - _SCORE_TIE))


def data_age(data: Dataset, *, attribute: str, now: datetime) -> DataAge:
    """The newest time among the products' own, else that of the feed's newest file.

    Args:
        data: The dataset.
        attribute: Product attribute that holds times; values that are none are passed over.
        now: To count from.
    """
    if attribute in data.manifest.attributes:
        column = data.product_table([attribute])[attribute].to_pandas().astype(str)
        newest = pd.to_datetime(column, utc=True, errors="coerce", format="mixed").max()
        if not pd.isna(newest):
            of = f"the newest {attribute} of a product"
            return DataAge.at(now, newest=newest.to_pydatetime(), of=of)
    if data.manifest.as_of is not None:
        newest = datetime.fromisoformat(data.manifest.as_of)
        return DataAge.at(now, newest=newest, of="the newest file of the feed")
    said = f"the age is unknown: no product has a time in {attribute}, and the dataset names none"
    return DataAge.at(now, newest=None, of=said)


def _export(model: Path, out: Path, fingerprint: str) -> OnnxQueryEncoder:
    from mmr.models.export import export_query_encoder  # torch loads here

    export_query_encoder(model, out, fingerprint=fingerprint)
    return OnnxQueryEncoder(out, threads=1)
