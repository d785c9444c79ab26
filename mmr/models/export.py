"""The query tower as ONNX: what Triton runs, without PyTorch."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from mmr.atomic import write_json
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever

_OPSET = 17


class _QueryTower(nn.Module):
    def __init__(self, retriever: Retriever) -> None:
        super().__init__()
        self.encoder = retriever.query_encoder
        self.words = retriever.words  # the head looks them up; the exporter wants to own them
        self.head = retriever.query_head
        self.served = retriever.served

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.served(self.head(self.encoder(input_ids, attention_mask)))


def export_query_encoder(model: Path, out: Path, *, fingerprint: str) -> None:
    """Writes the query tower of a model as ONNX with its tokenizer.

    Args:
        model: A model directory.
        out: Directory to fill: `encoder.onnx` (inputs `input_ids`, `attention_mask`, int64
            `(batch, tokens)`; output `embedding`, float32 `(batch, dim)`, unit length),
            `tokenizer.json`, `encoder.json`.
        fingerprint: The encoder fingerprint, recorded in `encoder.json`.
    """
    retriever = load_retriever(model)
    out.mkdir(parents=True, exist_ok=True)
    text = retriever.settings.text
    tokens = retriever.query_encoder.tokenize(["white wardrobe", "lamp"], max_tokens=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape it reads
        torch.onnx.export(
            _QueryTower(retriever).eval(),
            (tokens["input_ids"], tokens["attention_mask"]),
            out / "encoder.onnx",
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={
                "input_ids": {0: "batch", 1: "tokens"},
                "attention_mask": {0: "batch", 1: "tokens"},
                "embedding": {0: "batch"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )
    shutil.copyfile(model / "encoder" / "text" / "tokenizer.json", out / "tokenizer.json")
    write_json(
        out / "encoder.json",
        {
            "format_version": 1,
            "dim": retriever.dim,
            "max_tokens": text.max_query_tokens,
            "prefix": text.query_prefix,
            "pad_id": retriever.query_encoder.tokenizer.pad_token_id or 0,
            "fingerprint": fingerprint,
        },
    )
