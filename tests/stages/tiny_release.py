"""A real release of four vases and lamps, with judged queries, and its scores."""

import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from mmr.atomic import write_json
from mmr.config.index import IndexConfig
from mmr.indexing import build_product_index
from mmr.stages.evaluate_release import evaluate_release
from tests.sealing import seal_release

WORDS = ["[PAD]", "[UNK]", "red", "blue", "vase", "lamp"]
# Products by what they are; the vector of a text is the sum of its words' axes, made unit length.
PRODUCTS = {"rv": "red vase", "bv": "blue vase", "rl": "red lamp", "bl": "blue lamp"}
FINGERPRINT = "f" * 64
QUERIES = [
    {"query_id": "q1", "query": "red vase", "kind": "colour+type", "split": "test"},
    {"query_id": "q2", "query": "lamp", "kind": "type", "split": "test"},
    {"query_id": "q3", "query": "blue vase", "kind": "colour+type", "split": "validation"},
]
JUDGEMENTS = [
    ("q1", "rv", 2),
    ("q1", "bv", 1),
    ("q2", "rl", 1),
    ("q2", "bl", 1),
    ("q3", "bv", 2),
    ("q3", "rv", 1),
]


def vector(text: str) -> np.ndarray:
    total = sum(np.eye(len(WORDS))[WORDS.index(word)] for word in text.split())
    return (total / np.linalg.norm(total)).astype(np.float32)


def write_query_encoder(directory: Path, fingerprint: str) -> None:
    directory.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.eye(len(WORDS), dtype=np.float32)
    table[0] = 0  # padding adds nothing
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kept", "last"], ["mask"]),
            helper.make_node("Mul", ["words", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "middle"], ["total"], keepdims=0),
            helper.make_node("LpNormalization", ["total"], ["embedding"], axis=-1, p=2),
        ],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", len(WORDS)])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.asarray([2]), "last"),
            numpy_helper.from_array(np.asarray([1]), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / "encoder.onnx")
    write_json(
        directory / "encoder.json",
        {
            "format_version": 1,
            "dim": len(WORDS),
            "max_tokens": 8,
            "prefix": "",
            "pad_id": 0,
            "fingerprint": fingerprint,
        },
    )


def write_vectors(directory: Path) -> Path:
    directory.mkdir()
    np.save(directory / "vectors.npy", np.stack([vector(text) for text in PRODUCTS.values()]))
    columns = {
        "product_id": list(PRODUCTS),
        "title": list(PRODUCTS.values()),
        "has_text": [True] * 4,
        "has_image": [True] * 4,
    }
    pq.write_table(pa.table(columns), directory / "products.parquet")
    write_json(
        directory / "vectors.json",
        {
            "format_version": 1,
            "encoder_fingerprint": FINGERPRINT,
            "dim": len(WORDS),
            "rows": 4,
            "dataset_hash": "d" * 64,
        },
    )
    return directory


def write_release(path: Path, *, fingerprint: str = FINGERPRINT) -> Path:
    write_query_encoder(path / "query_encoder", fingerprint)
    vectors = write_vectors(path.with_name(f"{path.name}-vectors"))
    build_product_index(
        vectors=vectors, queries=None, out=path / "index", settings=IndexConfig(min_recall=0.01)
    )
    seal_release(path, fingerprint=FINGERPRINT, dim=len(WORDS))
    return path


def write_queries(path: Path, rows: list[dict] = QUERIES) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_judgements(path: Path, rows: list[tuple] = JUDGEMENTS) -> Path:
    lines = ["query_id\tproduct_id\tgrade", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def score(release: Path, tmp_path: Path, *, judgements: list[tuple] = JUDGEMENTS, **more) -> dict:
    result = evaluate_release(
        release=release,
        queries=write_queries(tmp_path / "queries.jsonl"),
        judgements=write_judgements(tmp_path / "judgements.tsv", judgements),
        products_only=more.pop("products_only", None),
        report=tmp_path / "scores.json",
        **more,
    )
    assert json.loads((tmp_path / "scores.json").read_text()) == result
    return result
