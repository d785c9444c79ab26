"""A tiny shop and a tiny text backbone, saved as a real checkpoint in the hub's file layout."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mmr.config.model import FusionKind, ModelSettings, TextSettings, VisionSettings
from mmr.config.run import RunSettings
from mmr.config.showroom import ShowroomConfig
from mmr.config.training import (
    AlignStage,
    FusionStage,
    LoopSettings,
    QueryBatchSettings,
    TextOnlyStage,
    VisionStage,
)
from mmr.data.dataset import Dataset
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
from mmr.stages.showroom import render_showroom

LONGEST = ("faults", "pipelines", "serving")
"""Directories whose tests take the longest, and so come first."""
TRAINED = ("test_killed_pipelines.py", "test_secrets.py", "test_untrusted_release.py")
"""Files of tests/faults that share a shop, which takes minutes to train."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first, so that no process has one left when the other is done."""
    items.sort(key=lambda item: item.nodeid.split("/")[1] not in LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Has `make test` run in one process what shares servers and models."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup(config, log)


def group(nodeid: str) -> str:
    """What must run in one process: the tests of a file, all of serving, all on a trained shop."""
    file = nodeid.split("::")[0]
    if file.startswith("tests/serving/"):
        return "serving"
    return "trained shop" if file.endswith(TRAINED) else file


@pytest.fixture(scope="session")
def free_ports() -> Callable[[], int]:
    """Gives the first of three free ports in a row, which no other test of the run is given.

    Every process of the run has a thousand of its own, below those that the system lends to
    outgoing connections, and begins somewhere among them: other runs have the same thousands.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    spread = os.getpid() % 100
    firsts = (20_000 + 1_000 * process + (spread + turn) % 100 * 10 for turn in range(100))

    def give() -> int:
        for first in firsts:
            if _are_free(range(first, first + 3)):
                return first
        raise RuntimeError("this process has no three free ports in a row left")

    return give


def _are_free(ports: range) -> bool:
    with contextlib.ExitStack() as probes:
        try:
            for port in ports:
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop") / "dataset"
    render_showroom(out=out, settings=ShowroomConfig(products=120, queries=60, seed=3, px=32))
    return out


@pytest.fixture(scope="session")
def tiny_backbone(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT whose WordPiece vocabulary is the tiny shop's own."""
    dataset = Dataset(tiny_dataset)
    titles = [title or "" for title in dataset.product_table(["title"])["title"].to_pylist()]
    vocabulary = _word_pieces([*titles, *dataset.queries()["query"]], size=400)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # type: ignore[arg-type]
    tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    out = tmp_path_factory.mktemp("backbone")
    BertModel(config).save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(out)
    return out


def _word_pieces(texts: Sequence[str], *, size: int) -> dict[str, int]:
    """Each character, and the most frequent words; a trainer breaks ties differently each time."""
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    characters = sorted({character for word in words for character in word})
    pieces = [*characters, *(f"##{character}" for character in characters)]
    pieces += sorted(set(words) - set(pieces), key=lambda word: (-words[word], word))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces][:size]
    return {piece: number for number, piece in enumerate(pieces)}


@pytest.fixture(scope="session")
def tiny_settings(tiny_backbone: Path) -> RunSettings:
    """Settings under which every stage trains in about a second."""
    loop = LoopSettings(
        steps=12, validate_every=6, checkpoint_every=4, backbone_learning_rate=0, patience=9
    )
    batch = QueryBatchSettings(queries=16, positives=2, negatives=16)
    return RunSettings(
        model=ModelSettings(
            dim=32,
            head_hidden=32,
            bilinear_rank=8,
            text=TextSettings(backbone=str(tiny_backbone)),
            vision=VisionSettings(
                architecture={
                    "model_type": "resnet",
                    "embedding_size": 8,
                    "hidden_sizes": [8, 16],
                    "depths": [1, 1],
                    "layer_type": "basic",
                },
                height=32,
                width=32,
                colour_bins=2,
            ),
        ),
        text_only=TextOnlyStage(loop=loop, batch=batch),
        vision=VisionStage(loop=loop, batch_size=32),
        align=AlignStage(loop=loop, batch=batch),
        fusion=FusionStage(loop=loop, batch=batch, image_only_steps=12),
    )


@pytest.fixture(scope="session")
def untrained_model(
    tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[FusionKind], Path]:
    """Saves a model of random weights with the fusion asked for; text-only ones have no images."""

    def save(kind: FusionKind) -> Path:
        torch.manual_seed(1)
        retriever = new_text_retriever(tiny_settings.model)
        if kind is not FusionKind.TEXT_ONLY:
            retriever.with_images()
            retriever.with_fusion(kind)
            for parameter in retriever.fusion.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
        path = tmp_path_factory.mktemp("untrained") / kind.value
        path.mkdir()
        save_retriever(retriever, path, training={"history": []})
        return path

    return save
