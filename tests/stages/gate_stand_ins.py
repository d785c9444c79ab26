"""A small real dataset for the gate, and models of which a file says how good their vectors are."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmr.atomic import write_json
from mmr.config.gate import GateConfig
from mmr.config.index import IndexConfig
from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.data.writer import new_dataset
from mmr.indexing import build_product_index
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages import gate_measurements
from mmr.stages.evaluate_gate import GateReport, evaluate_gate
from mmr.tracking import InMemoryTracking
from mmr.types import Float32Array, ProductEmbeddings
from tests.sealing import seal_release

TOPICS = 30
PER_TOPIC = 5
CONFIG = GateConfig(resamples=499, report_examples=2, latency_queries=5)
EVIL = "<script>alert('x')</script> & \"vase\""


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 80), (seed * 7 % 256, 90, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_dataset(path: Path, *, judged_split: str = "validation") -> Path:
    """Query t asks for the products of topic t; every third product has no (or no whole) image."""

    def image(row: int) -> dict[str, object] | None:
        if row % 3 == 0:
            return None
        return {"bytes": jpeg(row) if row % 3 == 1 else b"\xff\xd8broken", "path": None}

    products = [
        {
            "product_id": f"p{row:03d}",
            "title": f"{EVIL} {row}" if row % 2 else None,
            "description": "of glass",
            "image": image(row),
        }
        for row in range(TOPICS * PER_TOPIC)
    ]
    queries = pd.DataFrame(
        {
            "query_id": [f"q{t}" for t in range(TOPICS)] + ["unjudged"],
            "query": [f"{EVIL} {t}" for t in range(TOPICS)] + ["nothing"],
            "kind": [["type", "colour+type"][t % 2] for t in range(TOPICS)] + ["type"],
            "split": [judged_split] * (TOPICS + 1),
        }
    )
    judgements = pd.DataFrame(
        [(f"q{row // PER_TOPIC}", f"p{row:03d}", 1 + row % 2) for row in range(len(products))],
        columns=["query_id", "product_id", "grade"],
    )
    with new_dataset(path, attributes={}) as writer:
        writer.add_products(products)
        writer.set_queries(queries)
        writer.set_judgements(judgements)
        writer.finish(name="vases", prepared={})
    return path


def write_model(path: Path, *, noise: float, seed: int = 0, export: float = 0) -> Path:
    (path / "encoder").mkdir(parents=True)
    weights = {"noise": noise, "seed": seed, "export": export}
    write_json(path / "encoder" / "weights.json", weights)
    history = [{"stage": "fusion", "epoch": 1, "loss": 0.5}]
    write_json(path / "training.json", {"settings": {"lr": 0.1, "d": {"e": 2}}, "history": history})
    return path


def _noisy(model: Path, topics: list[int], stream: int) -> Float32Array:
    weights = json.loads((model / "encoder" / "weights.json").read_text())
    rng = np.random.default_rng([weights["seed"], stream])
    vectors = np.eye(TOPICS)[topics]
    vectors = vectors + weights["noise"] * rng.normal(size=vectors.shape)
    return vectors.astype(np.float32)


def replace_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for `mmr.stages.embedding`: vectors as good as the model's file says."""

    def embed_products(model: Path, dataset: Dataset, *, cache: Path) -> ProductEmbeddings:
        ids = dataset.product_ids()
        vectors = _noisy(model, [int(name[1:]) // PER_TOPIC for name in ids], 1)
        full = np.ones(len(ids), dtype=bool)
        return ProductEmbeddings(ids, vectors, has_text=full, has_image=full)

    def embed_queries(model: Path, queries: Sequence[str], *, cache: Path) -> Float32Array:
        return _query_vectors(model, queries)

    class ProductTower:
        """Of a model that reads text only: the report has nothing to weigh."""

        products = SimpleNamespace(images=None)
        retriever = SimpleNamespace(kind=FusionKind.TEXT_ONLY)

        @classmethod
        def open(cls, model: Path, dataset: Dataset, *, cache: Path) -> "ProductTower":
            return cls()

    module = ModuleType("mmr.stages.embedding")
    module.ProductTower = ProductTower
    module.embed_products = embed_products
    module.embed_queries = embed_queries
    monkeypatch.setitem(sys.modules, "mmr.stages.embedding", module)
    monkeypatch.setattr(
        gate_measurements, "_export", lambda model, out, fingerprint: StandInEncoder(model)
    )


class StandInEncoder:
    """An export that answers as the model does, as far as `noise_of_export` in its file allows."""

    def __init__(self, model: Path) -> None:
        self.model = model

    def encode(self, texts: Sequence[str]) -> Float32Array:
        vectors = _query_vectors(self.model, texts)
        noise = json.loads((self.model / "encoder" / "weights.json").read_text()).get("export", 0)
        return _unit(vectors + noise * np.random.default_rng(0).normal(size=vectors.shape))


def _query_vectors(model: Path, texts: Sequence[str]) -> Float32Array:
    """A query's vector depends on the query alone."""
    rows = [_noisy(model, [int(text.split()[-1])], 2 + int(text.split()[-1])) for text in texts]
    return _unit(np.concatenate(rows))


def _unit(vectors: Float32Array) -> Float32Array:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_index(path: Path, model: Path, dataset: Path, **changed: str) -> Path:
    """The index of a stand-in model's product vectors."""
    data = Dataset(dataset)
    ids = data.product_ids()
    vectors = _unit(_noisy(model, [int(name[1:]) // PER_TOPIC for name in ids], 1))
    source = path.with_name(f"{path.name}-vectors")
    source.mkdir(parents=True)
    np.save(source / "vectors.npy", vectors)
    full = np.ones(len(ids), dtype=bool)
    frame = {"product_id": ids, "title": "", "has_text": full, "has_image": full}
    pd.DataFrame(frame).to_parquet(source / "products.parquet", index=False)
    write_json(
        source / "vectors.json",
        {
            "format_version": 1,
            "encoder_fingerprint": encoder_fingerprint(model),
            "dim": TOPICS,
            "rows": len(ids),
            "dataset_hash": data.manifest.content_hash,
            **changed,
        },
    )
    build_product_index(vectors=source, queries=None, out=path, settings=IndexConfig())
    return path


def run(
    tmp_path: Path,
    dataset: Path,
    *,
    candidate: float = 0.1,
    champion: Path | None = None,
    tracker: InMemoryTracking | None = None,
    settings: GateConfig = CONFIG,
) -> GateReport:
    for name, noise in (("candidate", candidate), ("text_only", 0.6)):
        if not (tmp_path / name).exists():
            write_model(tmp_path / name, noise=noise)
    if not (tmp_path / "index").exists():
        write_index(tmp_path / "index", tmp_path / "candidate", dataset)
    return evaluate_gate(
        dataset=dataset,
        candidate=tmp_path / "candidate",
        baseline=tmp_path / "text_only",
        index=tmp_path / "index",
        champion=champion,
        out=tmp_path / "gate",
        settings=settings,
        cache=tmp_path / "cache",
        tracker=tracker or InMemoryTracking(),
        dataset_revision="md5.dir",
        git_revision="c0ffee",
    )


def write_release(path: Path, *, noise: float, evidence: dict | None = None) -> Path:
    model = write_model(path / "product_encoder", noise=noise)
    if evidence is not None:
        (path / "evidence").mkdir()
        write_json(path / "evidence" / "gate.json", evidence)
    seal_release(path, fingerprint=encoder_fingerprint(model), dim=TOPICS)
    return path


def record(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "gate" / "gate.json").read_text())
