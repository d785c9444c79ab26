"""CLIP, SigLIP and SigLIP 2 as both towers: they start with their own cosines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel

from mmr.config.model import FusionKind, VisionSettings
from mmr.models.export import export_query_encoder
from mmr.models.storage import load_retriever, save_retriever
from mmr.models.text import pretrained_text_encoder
from mmr.models.vision import new_image_encoder
from mmr.release.query_encoder import OnnxQueryEncoder
from tests.models import checkpoints
from tests.models.checkpoints import SIZE, TEXTS
from tests.models.pairs import (
    PAIRS,
    as_stages_read,
    embedded_texts,
    own_answers,
    pictures,
    retriever_of,
    settings_of,
)


@pytest.fixture(scope="module", params=list(PAIRS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return PAIRS[name][0](tmp_path_factory.mktemp("pair") / name)


@torch.no_grad()
def test_a_pair_starts_with_its_own_cosines(pair: Path) -> None:
    retriever = retriever_of(pair)
    text, image = own_answers(pair, TEXTS, pictures())

    queries = embedded_texts(retriever, TEXTS)
    products = retriever.image_embedding(as_stages_read(pictures(), retriever.settings.vision))

    torch.testing.assert_close(queries @ products.T, text @ image.T, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(queries @ queries.T, text @ text.T, atol=2e-5, rtol=1e-4)
    spread = (queries @ products.T).std()
    assert spread > 1e-3, (
        "the tiny model must tell texts and pictures apart, or this proves nothing"
    )


@torch.no_grad()
def test_siglip_squeezes_photographs_of_any_shape_as_it_learnt_to(tmp_path: Path) -> None:
    location = checkpoints.siglip(tmp_path / "siglip")
    retriever = retriever_of(location)
    tall = pictures(height=60, width=30)
    _, image = own_answers(location, TEXTS, tall)

    products = retriever.image_embedding(as_stages_read(tall, retriever.settings.vision))

    torch.testing.assert_close(products @ products.T, image @ image.T, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_pair_stays_aligned_in_another_dimension(tmp_path: Path) -> None:
    location = checkpoints.siglip(tmp_path / "siglip")
    text, image = own_answers(location, TEXTS, pictures())
    retriever = retriever_of(location, dim=40)

    queries = embedded_texts(retriever, TEXTS)
    products = retriever.image_embedding(as_stages_read(pictures(), retriever.settings.vision))

    torch.testing.assert_close(queries @ products.T, text @ image.T, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_pair_is_stored_without_its_checkpoint(pair: Path, tmp_path: Path) -> None:
    home = tmp_path / pair.name
    shutil.copytree(pair, home)
    retriever = retriever_of(home)
    retriever.with_fusion(FusionKind.MEAN)
    model = tmp_path / "model"
    model.mkdir()
    save_retriever(retriever, model, training={"history": []})
    shutil.rmtree(home)

    stored = load_retriever(model)

    pixels = as_stages_read(pictures(), stored.settings.vision)
    assert torch.equal(embedded_texts(stored, TEXTS), embedded_texts(retriever, TEXTS))
    assert torch.equal(stored.image_embedding(pixels), retriever.image_embedding(pixels))
    assert stored.settings.vision.preprocessing == "settings"
    assert (stored.settings.vision.height, stored.settings.vision.width) == (SIZE, SIZE)


@pytest.mark.parametrize("builder", [checkpoints.clip, checkpoints.siglip])
def test_a_sharded_checkpoint_is_the_same_backbone(
    builder: Callable[..., Path], tmp_path: Path
) -> None:
    one, many = builder(tmp_path / "one"), builder(tmp_path / "many", sharded=True)

    assert (many / "model.safetensors.index.json").is_file()
    assert not (many / "model.safetensors").exists()
    for part in (pretrained_text_encoder, new_image_encoder):
        halves = []
        for home in (one, many):
            settings = settings_of(home)
            if part is pretrained_text_encoder:
                text = settings.text.model_copy(
                    update={"max_query_tokens": 12, "max_product_tokens": 12}
                )
                halves.append(pretrained_text_encoder(text).backbone.state_dict())
            else:
                halves.append(new_image_encoder(settings.vision).backbone.state_dict())
        assert halves[0].keys() == halves[1].keys()
        assert all(torch.equal(value, halves[1][name]) for name, value in halves[0].items())


@torch.no_grad()
def test_the_exported_query_tower_of_a_pair_gives_pytorchs_vectors(
    pair: Path, tmp_path: Path
) -> None:
    retriever = retriever_of(pair)
    model = tmp_path / "model"
    model.mkdir()
    save_retriever(retriever, model, training={"history": []})
    export_query_encoder(model, tmp_path / "onnx", fingerprint="f" * 64)

    exported = OnnxQueryEncoder(tmp_path / "onnx")

    for texts in (TEXTS, TEXTS[:1], [*TEXTS, "", "oak " * 50]):
        expected = embedded_texts(retriever, texts).numpy()
        np.testing.assert_allclose(exported.encode(texts), expected, atol=2e-5)


@torch.no_grad()
def test_another_size_than_the_trained_one_is_interpolated(pair: Path) -> None:
    settings = VisionSettings(
        backbone=str(pair), preprocessing="settings", height=48, width=40, colour_bins=0
    )
    encoder = new_image_encoder(settings).eval()
    pixels = as_stages_read(pictures(), settings)
    model = AutoModel.from_pretrained(pair).eval()

    features = encoder(pixels)

    expected = model.get_image_features(
        pixel_values=(pixels / 255 - 0.5) / 0.5, interpolate_pos_encoding=True
    ).pooler_output
    torch.testing.assert_close(
        F.normalize(features, dim=-1), F.normalize(expected, dim=-1), atol=1e-5, rtol=1e-4
    )
    assert encoder.cell_states(pixels, side=3).shape[1] == 9
