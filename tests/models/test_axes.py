"""Principal axes: no score changes, and the first dimensions say most."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from mmr.config.model import FusionKind
from mmr.errors import ArtifactError
from mmr.models.axes import principal_axes
from mmr.models.export import export_query_encoder
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever, save_retriever
from mmr.release.query_encoder import OnnxQueryEncoder

_DIM = 12


def _embeddings(seed: int, rows: int = 40) -> torch.Tensor:
    """Unit vectors that vary more along some directions than along others, none of them an axis."""
    draw = np.random.default_rng(seed)
    spread = draw.standard_normal((rows, _DIM)) * np.geomspace(1, 0.01, _DIM)
    turned = torch.from_numpy(spread @ ortho_group.rvs(_DIM, random_state=draw)).float()
    return torch.nn.functional.normalize(turned, dim=-1)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60))
def test_a_turn_keeps_every_score(seed: int, rows: int) -> None:
    embeddings = _embeddings(seed, rows)
    turned = embeddings @ principal_axes(embeddings)

    torch.testing.assert_close(turned @ turned.T, embeddings @ embeddings.T, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 10_000), first=st.integers(1, _DIM - 1))
def test_no_other_turn_keeps_more_of_the_embeddings_in_the_first_dimensions(
    seed: int, first: int
) -> None:
    embeddings = _embeddings(seed)
    other = torch.from_numpy(ortho_group.rvs(_DIM, random_state=seed)).float()

    kept, kept_otherwise = (
        float((embeddings @ axes)[:, :first].square().sum())
        for axes in (principal_axes(embeddings), other)
    )

    assert kept >= kept_otherwise - 1e-4


def test_the_same_embeddings_in_another_order_give_the_same_axes() -> None:
    embeddings = _embeddings(3)

    torch.testing.assert_close(
        principal_axes(embeddings), principal_axes(embeddings.flip(0)), atol=1e-4, rtol=0
    )


@pytest.fixture
def turned(untrained_model: Callable[[FusionKind], Path]) -> Retriever:
    retriever = load_retriever(untrained_model(FusionKind.MEAN))
    generator = torch.Generator().manual_seed(0)
    retriever.with_principal_axes(torch.randn(90, retriever.dim, generator=generator))
    return retriever


def test_a_new_fusion_forgets_the_axes_of_the_one_before(turned: Retriever) -> None:
    turned.with_fusion(FusionKind.CONCAT)

    assert turned.axes is None
    assert "axes" not in turned.state_dict()


def test_axes_are_stored_with_the_model(turned: Retriever, tmp_path: Path) -> None:
    save_retriever(turned, tmp_path, training={})
    again = load_retriever(tmp_path)

    assert turned.axes is not None
    assert again.axes is not None
    assert torch.equal(again.axes, turned.axes)


def test_a_model_of_before_the_axes_is_still_read(
    untrained_model: Callable[[FusionKind], Path], tmp_path: Path
) -> None:
    save_retriever(load_retriever(untrained_model(FusionKind.MEAN)), tmp_path, training={})
    file = tmp_path / "encoder" / "architecture.json"
    architecture = json.loads(file.read_text())
    del architecture["axes"]
    file.write_text(json.dumps({**architecture, "format_version": 3}))

    assert load_retriever(tmp_path).axes is None


def test_a_concatenation_of_before_is_refused_as_it_embedded_lone_texts_otherwise(
    untrained_model: Callable[[FusionKind], Path], tmp_path: Path
) -> None:
    save_retriever(load_retriever(untrained_model(FusionKind.CONCAT)), tmp_path, training={})
    file = tmp_path / "encoder" / "architecture.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": 4}))

    with pytest.raises(ArtifactError, match=r"format 4, but of fusion concat .* formats 5 to 5"):
        load_retriever(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_served_query_encoder_turns_as_the_products_are_turned(
    turned: Retriever, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    save_retriever(turned, tmp_path / "model", training={})
    export_query_encoder(tmp_path / "model", tmp_path / "served", fingerprint="f")

    served = OnnxQueryEncoder(tmp_path / "served").encode(["white lamp"])

    with torch.no_grad():
        tokens = turned.text_encoder.tokenize(["white lamp"], max_tokens=32)
        plain = turned.query_head(turned.text_encoder(**tokens))
    np.testing.assert_allclose(served, turned.served(plain).numpy(), atol=1e-4)
    assert np.abs(served - plain.numpy()).max() > 1e-2
