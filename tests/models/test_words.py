"""Word vectors: what they add, what they leave alone, and that serving adds the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmr.config.run import RunSettings
from mmr.models.export import export_query_encoder
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.models.storage import load_retriever, save_retriever
from mmr.models.words import WordTable
from mmr.release.query_encoder import OnnxQueryEncoder

TEXTS = ["white wardrobe", "white lamp of oak", "lamp"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


@pytest.fixture
def retriever(tiny_settings: RunSettings) -> Retriever:
    torch.manual_seed(3)
    retriever = new_text_retriever(tiny_settings.model)
    retriever.with_words(TEXTS)
    return retriever.eval()


def _features(retriever: Retriever, texts: list[str]) -> torch.Tensor:
    tokens = retriever.text_encoder.tokenize(texts, max_tokens=40)
    with torch.no_grad():
        features: torch.Tensor = retriever.text_encoder(**tokens)
    return features


def test_new_word_vectors_change_nothing(retriever: Retriever, tiny_settings: RunSettings) -> None:
    features = _features(retriever, TEXTS)
    with_words = retriever.query_head(features)
    retriever.query_head.look_up(None)

    assert torch.equal(with_words, retriever.query_head(features))


def test_a_text_gets_the_sum_of_its_known_pieces_over_the_root_of_their_number(
    retriever: Retriever,
) -> None:
    words = retriever.words
    assert isinstance(words, WordTable)
    torch.nn.init.normal_(words.table)
    tokenizer = retriever.text_encoder.tokenizer
    text = "white lamp zebra"  # the shop has no zebra

    added = words(retriever.text_encoder.tokenize([text], max_tokens=40)["input_ids"])[0]

    known = [
        words.table[words.rows[piece]]
        for piece in tokenizer(text, add_special_tokens=False)["input_ids"]
        if words.rows[piece] > 0
    ]
    expected = torch.stack(known).sum(0) / len(known) ** 0.5
    torch.testing.assert_close(added, expected)


def test_padding_and_special_tokens_add_nothing(retriever: Retriever) -> None:
    words = retriever.words
    assert words is not None
    torch.nn.init.normal_(words.table)
    tokenize = retriever.text_encoder.tokenize
    alone = words(tokenize(["lamp"], max_tokens=40)["input_ids"])
    padded = words(tokenize(["lamp", "white lamp of oak"], max_tokens=40)["input_ids"])[:1]
    bare = retriever.text_encoder.tokenizer("lamp", add_special_tokens=False)["input_ids"]

    torch.testing.assert_close(alone, padded)
    torch.testing.assert_close(alone, words(torch.tensor([bare])))


def test_both_towers_learn_one_table_and_storing_keeps_it(
    retriever: Retriever, tmp_path: Path
) -> None:
    assert retriever.words is not None
    torch.nn.init.normal_(retriever.words.table)
    features = _features(retriever, TEXTS)
    (retriever.query_head(features) @ retriever.text_head(features).T).sum().backward()
    gradient = retriever.words.table.grad
    assert gradient is not None
    assert bool((gradient[1:].abs().sum(1) > 0).all())

    save_retriever(retriever, tmp_path, training={})
    again = load_retriever(tmp_path)

    torch.testing.assert_close(again.query_head(features), retriever.query_head(features))
    assert sum(name.endswith("words.table") for name in again.state_dict()) == 1


def test_the_served_encoder_adds_the_same_words(retriever: Retriever, tmp_path: Path) -> None:
    assert retriever.words is not None
    torch.nn.init.normal_(retriever.words.table)
    queries = ["white lamp", "zebra", "lamp of oak and lamp"]
    (tmp_path / "model").mkdir()
    save_retriever(retriever, tmp_path / "model", training={})
    export_query_encoder(tmp_path / "model", tmp_path / "served", fingerprint="f")

    served = OnnxQueryEncoder(tmp_path / "served").encode(queries)

    with torch.no_grad():
        expected = torch.cat([retriever.query_head(_features(retriever, [q])) for q in queries])
    np.testing.assert_allclose(served, expected.numpy(), atol=1e-4)
