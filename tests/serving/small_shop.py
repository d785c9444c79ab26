"""A shop of 64 products: titles, an encoder that knows their words, an index, golden queries."""

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.config.index import IndexConfig
from mmr.hashing import sha256_directory
from mmr.indexing import ProductIndex, build_product_index
from mmr.release.bundle import GoldenQuery, write_golden_queries
from mmr.release.query_encoder import OnnxQueryEncoder

COLOURS = ("white", "black", "red", "green", "blue", "oak", "grey", "yellow")
TYPES = ("wardrobe", "table", "chair", "lamp", "sofa", "shelf", "bed", "desk")
TITLES = [f"{colour} {kind}" for kind in TYPES for colour in COLOURS]
GOLDEN_TEXTS = TITLES[::7]
TRAINING_QUERIES = [f"{title} {other}" for title in TITLES for other in COLOURS]


def write_encoder(directory: Path, seed: int) -> OnnxQueryEncoder:
    """A query encoder of random weights, which knows the titles' words."""
    import torch

    directory.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *TYPES]
    _write_tokenizer(directory / "tokenizer.json", vocabulary)
    torch.manual_seed(seed)
    inputs = (torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.onnx and transformers announce their deprecations
        torch.onnx.export(
            _tiny_query_tower(len(vocabulary)),
            inputs,
            str(directory / "encoder.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={
                "input_ids": {0: "batch", 1: "tokens"},
                "attention_mask": {0: "batch", 1: "tokens"},
                "embedding": {0: "batch"},
            },
            opset_version=17,
            dynamo=False,
        )
    record = {"format_version": 1, "dim": 32, "max_tokens": 32, "prefix": "", "pad_id": 0}
    record["fingerprint"] = sha256_directory(directory)
    (directory / "encoder.json").write_text(json.dumps(record))
    return OnnxQueryEncoder(directory)


def _tiny_query_tower(vocabulary_size: int):
    import torch
    from transformers import BertConfig, BertModel

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = BertConfig(
                vocab_size=vocabulary_size,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                attn_implementation="eager",
            )
            self.bert = BertModel(config, add_pooling_layer=False)

        def forward(self, input_ids, attention_mask):
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
            mask = attention_mask.unsqueeze(-1).float()
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            return torch.nn.functional.normalize(mean, dim=-1)

    return Tower().eval()


def _write_tokenizer(path: Path, vocabulary: list[str]) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))


def write_index(
    scratch: Path, encoder: OnnxQueryEncoder, seed: int, products: pa.Table | None
) -> None:
    """The index of the titles' own embeddings, or of a table of products beside them."""
    vectors = scratch / "vectors"
    vectors.mkdir()
    np.save(vectors / "vectors.npy", encoder.encode(TITLES))
    table = pa.table(
        {
            "product_id": [f"{seed}-{row}" for row in range(len(TITLES))],
            "title": [title.title() for title in TITLES],
            "has_text": [True] * len(TITLES),
            "has_image": [False] * len(TITLES),
        }
    )
    pq.write_table(products or table, vectors / "products.parquet")
    record = {
        "format_version": 1,
        "encoder_fingerprint": encoder.fingerprint,
        "dim": encoder.dim,
        "rows": len(TITLES),
        "dataset_hash": "d" * 64,
    }
    (vectors / "vectors.json").write_text(json.dumps(record))
    build_product_index(
        vectors=vectors, queries=None, out=scratch / "index", settings=IndexConfig()
    )


def write_golden(path: Path, encoder: OnnxQueryEncoder, index: Path) -> None:
    """Golden queries, answered as the release will."""
    opened = ProductIndex.open(index, encoder_fingerprint=encoder.fingerprint)
    embeddings = encoder.encode(GOLDEN_TEXTS)
    rows, scores = opened.search(embeddings, 10)
    write_golden_queries(
        path,
        [
            GoldenQuery(
                text=text,
                embedding=embedding.tolist(),
                product_ids=[opened.product_ids[row] for row in found],
                scores=score.tolist(),
            )
            for text, embedding, found, score in zip(
                GOLDEN_TEXTS, embeddings, rows, scores, strict=True
            )
        ],
    )
