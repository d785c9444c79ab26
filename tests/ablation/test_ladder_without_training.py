"""What a ladder does without training: it refuses requests, prepares a feed, shortens vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmr.ablation.measuring import first_half, rounded_to_int8
from mmr.ablation.run import run_ladder
from mmr.config.run import RunSettings
from mmr.config.showroom import ShowroomConfig
from mmr.data.dataset import Dataset
from mmr.errors import ConfigError, DataContractError
from mmr.stages.showroom import render_showroom
from tests.ablation.ladder_requests import request_of


def test_half_the_dimensions_are_the_first_ones_at_unit_length() -> None:
    vectors = np.asarray([[3.0, 4.0, 9.0, 9.0], [0.0, 0.0, 1.0, 0.0]], dtype=np.float32)

    np.testing.assert_allclose(first_half(vectors), [[0.6, 0.8], [0.0, 0.0]])


def test_int8_is_exact_to_half_a_step_of_each_vectors_own_scale() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)

    error = np.abs(rounded_to_int8(vectors) - vectors)

    step = np.abs(vectors).max(axis=1, keepdims=True) / 127
    assert (error <= step * 0.5001).all()
    assert error.max() > 0


def test_a_feed_is_imported_and_prepared_once(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.ablation import source

    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "products.csv").write_text("product_id,title\na,white lamp\nb,red sofa\n")
    (feed / "queries.csv").write_text("query_id,query\nq1,lamp\nq2,sofa\nq3,red\n")
    (feed / "judgements.csv").write_text("query_id,product_id,grade\nq1,a,1\nq2,b,1\nq3,b,1\n")
    first = source.prepared_dataset(str(feed), settings=settings.prepare, cache=tmp_path / "c")
    monkeypatch.setattr(source, "import_data", None)
    monkeypatch.setattr(source, "prepare", None)

    again = source.prepared_dataset(str(feed), settings=settings.prepare, cache=tmp_path / "c")

    assert again == first
    assert Dataset(first).manifest.prepared is not None
    assert source.prepared_dataset(str(first), settings=settings.prepare, cache=tmp_path) == first


def test_a_dataset_without_judged_validation_queries_is_refused_before_any_training(
    settings: RunSettings, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    render_showroom(
        out=shop,
        settings=ShowroomConfig(products=60, queries=20, seed=3, px=32, validation_share=0),
    )
    with pytest.raises(DataContractError, match="no validation query"):
        run_ladder(request_of(shop, settings, tmp_path / "workspace"), show=lambda line: None)

    assert not (tmp_path / "workspace" / "cache" / "models").exists()


def test_wrong_requests_are_refused_before_a_workspace_is_made(
    settings: RunSettings, tmp_path: Path
) -> None:
    for wrong in ({"seeds": 0}, {"ladder": "stairs"}, {"only": ("roof",)}):
        with pytest.raises(ConfigError):
            run_ladder(
                request_of(tmp_path, settings, tmp_path / "workspace", **wrong),
                show=lambda line: None,
            )
    assert not (tmp_path / "workspace").exists()
