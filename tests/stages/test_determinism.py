"""The same data, settings and seed give the same metrics, whatever the caches hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmr import stages
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.evaluation.metrics import DEPTH, mean_metrics, query_metrics
from mmr.evaluation.ranking import exact_search
from mmr.stages.embedding import embed_products, embed_queries
from mmr.types import Float32Array

TOLERANCE = 0.002


def trained(
    dataset: Path, root: Path, settings: RunSettings
) -> tuple[dict[str, float], Float32Array]:
    """Metrics on the test queries and product vectors after all stages, with a cache of its own."""
    cache = root / "cache"
    text, vision, aligned, fused = (root / name for name in ("text", "vision", "aligned", "fused"))
    stages.train_text_only(
        dataset=dataset, out=text, settings=settings.text_only_stage, cache=cache
    )
    stages.finetune_vision(
        dataset=dataset, text_only=text, out=vision, settings=settings.vision_stage, cache=cache
    )
    stages.align_queries(
        dataset=dataset, vision=vision, out=aligned, settings=settings.align_stage, cache=cache
    )
    stages.train_fusion(
        dataset=dataset, aligned=aligned, out=fused, settings=settings.fusion_stage, cache=cache
    )
    opened = Dataset(dataset)
    queries = opened.queries("test")
    products = embed_products(fused, opened, cache=cache)
    ranked, _ = exact_search(
        embed_queries(fused, queries["query"].tolist(), cache=cache), products.vectors, DEPTH
    )
    per_query = query_metrics(
        ranked,
        query_ids=queries["query_id"].tolist(),
        product_ids=products.product_ids,
        judgements=opened.judgements("test"),
    )
    return mean_metrics(per_query), np.asarray(products.vectors)


def test_the_same_seed_twice_gives_metrics_within_two_thousandths(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    assert tiny_settings.model.dropout > 0
    assert tiny_settings.vision.augment
    first, vectors = trained(tiny_dataset, tmp_path / "first", tiny_settings)
    again, vectors_again = trained(tiny_dataset, tmp_path / "again", tiny_settings)
    other_seed = tiny_settings.model_copy(update={"seed": tiny_settings.seed + 1})
    _, other_vectors = trained(tiny_dataset, tmp_path / "other", other_seed)

    assert first == pytest.approx(again, abs=TOLERANCE)
    np.testing.assert_allclose(vectors, vectors_again, atol=TOLERANCE)
    assert np.abs(vectors - other_vectors).max() > 10 * TOLERANCE
