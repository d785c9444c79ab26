"""What a registration reads: a tiny shop, a BERT of one layer, its index and a gate's verdict."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmr.config.index import IndexConfig
from mmr.data.writer import new_dataset
from mmr.stages.build_index import build_index
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.register_release import ReleaseRecord, register_release
from mmr.tracking import InMemoryTracking

COLOURS = ["red", "blue", "green", "white", "black", "pink"]
TYPES = ["sofa", "lamp", "chair", "table", "vase"]


@dataclass(frozen=True)
class Inputs:
    """The directories that the steps before would have written."""

    dataset: Path
    model: Path
    index: Path
    gate: Path

    def register(self, releases: Path, registry: InMemoryTracking, **more: object) -> ReleaseRecord:
        return register_release(
            dataset=self.dataset,
            model=self.model,
            index=self.index,
            gate=self.gate,
            releases=releases,
            registry=registry,
            **more,
        )


def write_dataset(path: Path) -> Path:
    names = [f"{colour} {kind}" for colour in COLOURS for kind in TYPES]
    queries = pd.DataFrame(
        {
            "query_id": [f"q{row}" for row in range(len(names))],
            "query": names,
            "kind": "visual",
            "split": ["validation" if row % 2 else "train" for row in range(len(names))],
        }
    )
    judgements = pd.DataFrame(
        {
            "query_id": queries["query_id"],
            "product_id": [f"p{row}" for row in range(len(names))],
            "grade": 1,
        }
    )
    with new_dataset(path, attributes={}) as writer:
        writer.add_products(
            {"product_id": f"p{row}", "title": name, "description": None, "image": None}
            for row, name in enumerate(names)
        )
        writer.set_queries(queries)
        writer.set_judgements(judgements)
        writer.finish(name="tiny", prepared=None)
    return path


def write_model(path: Path, *, seed: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from mmr.config.model import ModelSettings, TextSettings
    from mmr.models.retriever import new_text_retriever
    from mmr.models.storage import save_retriever

    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *TYPES]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    checkpoint = path.with_name(f"{path.name}-checkpoint")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(checkpoint)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(checkpoint)
    settings = ModelSettings(
        text=TextSettings(backbone=str(checkpoint), max_query_tokens=8, max_product_tokens=8),
        dim=12,
        head_hidden=16,
    )
    path.mkdir()
    save_retriever(new_text_retriever(settings), path, training={})
    return path


def write_gate(path: Path, *, decision: str = "promote") -> Path:
    path.mkdir()
    record = {
        "decision": decision,
        "mlflow_run_id": "run-1",
        "metrics": {"candidate": {"overall": {"ndcg_at_10": 0.5}, "slices": {}}},
    }
    (path / "gate.json").write_text(json.dumps(record))
    (path / "report.html").write_text("<html></html>")
    return path


def write_inputs(root: Path) -> Inputs:
    """All of them, under one directory."""
    dataset = write_dataset(root / "dataset")
    model = write_model(root / "model", seed=0)
    embed_catalogue(dataset=dataset, model=model, out=root / "vectors", cache=root / "cache")
    build_index(vectors=root / "vectors", out=root / "index", settings=IndexConfig())
    return Inputs(dataset, model, root / "index", write_gate(root / "gate"))
