"""Stage C turns what is served to its principal axes, and changes no answer by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.stages.embedding import embed_products, embed_queries
from mmr.types import Float32Array


@dataclass(frozen=True)
class Vectors:
    """Of the tiny shop, by one model."""

    queries: Float32Array
    products: Float32Array


@pytest.fixture(scope="module")
def vectors(
    untrained_model: Callable[[FusionKind], Path],
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[bool, Vectors]:
    """Without and with principal axes, everything else the same."""
    aligned = untrained_model(FusionKind.MEAN)
    place, found = tmp_path_factory.mktemp("axes"), {}
    for turned in (False, True):
        stage = tiny_settings.fusion.model_copy(update={"principal_axes": turned})
        model, cache = place / f"model-{turned}", place / "cache"
        stages.train_fusion(
            dataset=tiny_dataset,
            aligned=aligned,
            out=model,
            settings=tiny_settings.model_copy(update={"fusion": stage}).fusion_stage,
            cache=cache,
        )
        data = Dataset(tiny_dataset)
        found[turned] = Vectors(
            embed_queries(model, ["oak desk", "red lamp", "white sofa"], cache=cache),
            np.asarray(embed_products(model, data, cache=cache).vectors),
        )
    return found


def test_every_score_is_as_without_them(vectors: dict[bool, Vectors]) -> None:
    plain, turned = (entry.queries @ entry.products.T for entry in vectors.values())

    np.testing.assert_allclose(turned, plain, atol=1e-5)
    assert np.abs(vectors[True].products - vectors[False].products).max() > 0.01


def test_half_the_dimensions_keep_more_of_the_products(vectors: dict[bool, Vectors]) -> None:
    half = vectors[True].products.shape[1] // 2
    plain, turned = (np.square(entry.products[:, :half]).sum() for entry in vectors.values())

    assert turned > plain
    shares = np.square(vectors[True].products).sum(0)
    assert (np.diff(shares) <= 1e-3).all()  # the widest axis first
