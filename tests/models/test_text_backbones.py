"""Text backbones from tiny checkpoints: pooling, prefixes, cleaning, and what is refused."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from mmr.config.model import ModelSettings, TextSettings, VisionSettings
from mmr.errors import ConfigError
from mmr.models.export import export_query_encoder
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
from mmr.models.text import pretrained_text_encoder
from mmr.models.tokenization import pretrained_tokenizer
from mmr.models.vision import new_image_encoder
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.features import product_features, query_features
from tests.models import checkpoints
from tests.models.checkpoints import TEXTS


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sentence_model_keeps_the_pooling_it_was_published_with(
    pooling: str, tmp_path: Path
) -> None:
    location = checkpoints.sentence_bert(tmp_path / "bert", pooling=pooling)
    encoder = pretrained_text_encoder(
        TextSettings(
            backbone=str(location), max_query_tokens=32, max_product_tokens=32, words=False
        )
    ).eval()
    model, tokenizer = AutoModel.from_pretrained(location), AutoTokenizer.from_pretrained(location)

    for text in TEXTS:
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = states[0] if pooling == "cls" else states.mean(0)
        features = encoder(**encoder.tokenize([text, "a much longer text " * 3], max_tokens=32))[0]
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_prefixes_are_read_by_both_towers_and_by_the_served_one(tmp_path: Path) -> None:
    location = checkpoints.sentence_bert(tmp_path / "e5")
    settings = ModelSettings(
        dim=16,
        head_hidden=8,
        text=TextSettings(
            backbone=str(location),
            query_prefix="query: ",
            product_prefix="passage: ",
            words=False,
            max_product_tokens=32,
        ),
    )
    retriever = new_text_retriever(settings).eval()
    encoder = retriever.text_encoder
    model = tmp_path / "model"
    model.mkdir()
    save_retriever(retriever, model, training={"history": []})
    export_query_encoder(model, tmp_path / "onnx", fingerprint="f" * 64)

    queries = query_features(retriever, ["sofa"], cache=tmp_path / "cache")
    products = product_features(retriever, ["bed"], cache=tmp_path / "cache")
    served = OnnxQueryEncoder(tmp_path / "onnx").encode(["sofa"])

    expected = encoder(**encoder.tokenize(["query: sofa"], max_tokens=32))
    torch.testing.assert_close(queries, expected)
    passage = encoder(**encoder.tokenize(["passage: bed"], max_tokens=32))
    torch.testing.assert_close(products, passage, atol=0.05, rtol=0.05)  # bf16 where it is fast
    bare = encoder(**encoder.tokenize(["bed"], max_tokens=32))
    assert (products - passage).norm() < (products - bare).norm() / 4
    np.testing.assert_allclose(served, retriever.query_head(expected).numpy(), atol=1e-5)


@torch.no_grad()
def test_siglip_learnt_from_lower_case_text_and_the_served_tokenizer_knows(tmp_path: Path) -> None:
    first = checkpoints.siglip(tmp_path / "one")
    second = checkpoints.siglip(tmp_path / "two", generation=2)
    for location, bare in ((first, True), (second, False)):
        tokenizer = pretrained_tokenizer(str(location), siglip=True)
        out = tmp_path / f"stored-{location.name}"
        tokenizer.save_pretrained(out)
        served = Tokenizer.from_file(str(out / "tokenizer.json"))
        assert served.encode("White OAK").ids == served.encode("white oak").ids
        same = served.encode("size_10,  (oak)!").ids == served.encode("size 10 oak").ids
        assert same == bare


def test_wrong_kinds_of_backbone_are_refused(tmp_path: Path) -> None:
    vit = checkpoints.vit(tmp_path / "vit")
    bert = checkpoints.sentence_bert(tmp_path / "bert")

    with pytest.raises(ConfigError, match="no text backbone"):
        pretrained_text_encoder(TextSettings(backbone=str(vit)))
    with pytest.raises(ConfigError, match="no vision backbone"):
        new_image_encoder(
            VisionSettings(backbone=str(bert), preprocessing="settings", height=32, width=32)
        )
    with pytest.raises(ConfigError, match="no pooling of its own"):
        pretrained_text_encoder(
            TextSettings(backbone=str(bert), pooling="own", max_product_tokens=32)
        )
    with pytest.raises(ConfigError, match="cannot be pooled by `own`"):
        new_image_encoder(VisionSettings(backbone=str(vit), pooling="own"))
    with pytest.raises(ConfigError, match="40 tokens at most"):
        pretrained_text_encoder(TextSettings(backbone=str(bert), max_product_tokens=64))


def test_a_hub_name_that_cannot_be_had_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(ConfigError, match=r"no/such.*hub model that this machine can reach"):
        pretrained_text_encoder(TextSettings(backbone="no/such"))
    with pytest.raises(ConfigError, match=r"no/such.*hub model that this machine can reach"):
        new_image_encoder(VisionSettings(backbone="no/such", preprocessing="settings"))
    with pytest.raises(ConfigError, match=r"no/such"):
        new_image_encoder(VisionSettings(backbone="no/such"))
