"""The vectors directory states how much text and image weigh in each product."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmr import stages
from mmr.config.index import IndexConfig
from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.indexing import read_products
from mmr.stages.embedding import ProductTower

Untrained = Callable[[FusionKind], Path]


def embed(model: Path, dataset: Path, tmp_path: Path) -> Path:
    stages.embed_catalogue(
        dataset=dataset, model=model, out=tmp_path / "vectors", cache=tmp_path / "cache"
    )
    return tmp_path / "vectors"


def test_weights_of_each_product_reach_the_index(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    model = untrained_model(FusionKind.BILINEAR_EXPERTS)
    vectors = embed(model, tiny_dataset, tmp_path)
    stages.build_index(vectors=vectors, out=tmp_path / "index", settings=IndexConfig())

    table = read_products(tmp_path / "index" / "products.parquet")
    tower = ProductTower.open(model, Dataset(tiny_dataset), cache=tmp_path / "cache")
    weights = tower.weights(range(len(tower)))
    assert weights is not None
    np.testing.assert_allclose(table["text_weight"].to_numpy(), weights[:, 0], atol=1e-6)
    np.testing.assert_allclose(table["image_weight"].to_numpy(), weights[:, 1], atol=1e-6)
    assert len(set(table["text_weight"].to_pylist())) > 10  # each product has its own


@pytest.mark.parametrize(
    ("kind", "expected"), [(FusionKind.CONCAT, (None, None)), (FusionKind.TEXT_ONLY, (1.0, 0.0))]
)
def test_a_fusion_without_weights_leaves_them_empty(
    kind: FusionKind,
    expected: tuple[float | None, float | None],
    untrained_model: Untrained,
    tiny_dataset: Path,
    tmp_path: Path,
) -> None:
    vectors = embed(untrained_model(kind), tiny_dataset, tmp_path)

    table = read_products(vectors / "products.parquet")
    columns = (table["text_weight"].to_pylist(), table["image_weight"].to_pylist())
    assert [set(column) for column in columns] == [{value} for value in expected]


def test_products_recorded_before_there_were_weights_are_read_as_having_none(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    vectors = embed(untrained_model(FusionKind.MEAN), tiny_dataset, tmp_path)
    file = vectors / "products.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["text_weight", "image_weight"]), file)

    table = read_products(file)

    assert table["text_weight"].to_pylist() == [None] * table.num_rows
    assert table["title"].null_count < table.num_rows
