"""A tiny real query encoder in ONNX, and a tiny release made with it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmr.release.bundle import GoldenQuery, Release, copy_into_release, write_golden_queries
from mmr.types import Float32Array
from tests.sealing import seal_release

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "red", "blue", "sofa", "lamp", "oak"]
DIM = 6
FINGERPRINT = "f" * 64


def table() -> Float32Array:
    """One vector per token; the encoder's answer is their normalised mean."""
    return np.random.default_rng(3).normal(size=(len(VOCABULARY), DIM)).astype(np.float32)


def write_encoder(directory: Path, *, max_tokens: int = 8, prefix: str = "") -> Path:
    """Writes encoder.onnx, tokenizer.json, encoder.json."""
    directory.mkdir(parents=True)
    _write_onnx(directory / "encoder.onnx")
    _write_tokenizer(directory / "tokenizer.json")
    record = {
        "format_version": 1,
        "dim": DIM,
        "max_tokens": max_tokens,
        "prefix": prefix,
        "pad_id": 0,
        "fingerprint": FINGERPRINT,
    }
    (directory / "encoder.json").write_text(json.dumps(record))
    return directory


def _write_onnx(path: Path) -> None:
    from onnx import TensorProto, checker, helper, numpy_helper, save_model

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["tokens", "wide_mask"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=-1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM])],
        [
            numpy_helper.from_array(table(), "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save_model(model, str(path))


def _write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(
        WordLevel({word: row for row, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", pair=None, special_tokens=[("[CLS]", 2)]
    )
    tokenizer.enable_padding(length=20)  # as a training tokenizer may have been saved
    tokenizer.save(str(path))


@pytest.fixture
def encoder_dir(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "query_encoder")


@pytest.fixture
def write_query_encoder(tmp_path: Path) -> Callable[..., Path]:
    def write(**options: object) -> Path:
        return write_encoder(tmp_path / "another", **options)

    return write


@pytest.fixture
def reference() -> Callable[[str], Float32Array]:
    """Embeds by hand, cut at `max_tokens`."""

    def embed(text: str, max_tokens: int = 8) -> Float32Array:
        rows = [2] + [VOCABULARY.index(w) if w in VOCABULARY else 1 for w in text.split()]
        mean = table()[rows[:max_tokens]].sum(axis=0)
        return mean / np.linalg.norm(mean)

    return embed


@pytest.fixture
def build_release(tmp_path: Path) -> Callable[..., Path]:
    """Seals a small release; `ndcg` makes the content differ, `fill` adds files before the seal."""

    def build(
        name: str = "release",
        *,
        created_at: str = "2026-01-01",
        ndcg: float = 0.5,
        fill: Callable[[Path], None] | None = None,
    ) -> Path:
        out = tmp_path / name
        write_encoder(out / "query_encoder")
        model = tmp_path / f"model-of-{name}" / "encoder"
        model.mkdir(parents=True)
        (model / "weights.safetensors").write_bytes(b"weights")
        copy_into_release(model.parent, out / "product_encoder")
        write_golden_queries(
            out / "golden.json", [GoldenQuery("red sofa", [1.0, 0.0], ["p1", "p2"], [0.9, 0.8])]
        )
        if fill is not None:
            fill(out)
        seal_release(
            out,
            fingerprint=FINGERPRINT,
            dim=DIM,
            created_at=created_at,
            git_revision="abc",
            metrics={"candidate/ndcg_at_10": ndcg},
        )
        Release.open(out, verify="hashes")
        return out

    return build
