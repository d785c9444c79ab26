"""Tiny real releases (a BERT of two layers, a Faiss index) and a real Triton on free ports."""

import json
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.config.index import IndexConfig
from mmr.errors import ServingError
from mmr.hashing import sha256_directory
from mmr.indexing import ProductIndex, build_product_index
from mmr.monitoring.reference import fit_profile
from mmr.release.bundle import GoldenQuery, write_golden_queries
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchClient
from serving.deploy import deploy
from serving.process import RunningServer
from serving.settings import ModelSettings, ServeSettings
from tests.sealing import seal_release

COLOURS = ("white", "black", "red", "green", "blue", "oak", "grey", "yellow")
TYPES = ("wardrobe", "table", "chair", "lamp", "sofa", "shelf", "bed", "desk")
TITLES = [f"{colour} {kind}" for kind in TYPES for colour in COLOURS]
GOLDEN_TEXTS = TITLES[::7]
TRAINING_QUERIES = [f"{title} {other}" for title in TITLES for other in COLOURS]
MakeRelease = Callable[..., Path]


@pytest.fixture(scope="session")
def make_release(tmp_path_factory: pytest.TempPathFactory) -> MakeRelease:
    """Writes a whole release; a seed gives an encoder of its own, and product ids `seed-row`.

    `products` replaces the table of products beside the vectors, row for row.
    """
    root = tmp_path_factory.mktemp("releases")

    def make(
        seed: int,
        *,
        releases: Path | None = None,
        golden_from: Path | None = None,
        index_from: Path | None = None,
        products: pa.Table | None = None,
        with_profile: bool = True,
    ) -> Path:
        scratch = root / f"scratch-{seed}-{len(list(root.iterdir()))}"
        encoder = _write_encoder(scratch / "query_encoder", seed)
        index = index_from / "index" if index_from else None
        if index is None:
            _write_index(scratch, encoder, seed, products)
        else:
            os.symlink(index, scratch / "index")
        golden = (golden_from or scratch) / "golden.json"
        if golden_from is None:
            _write_golden(golden, encoder, scratch / "index", seed)
        release = root / f"release-{len(list(root.iterdir()))}"
        _copy(scratch / "query_encoder", release / "query_encoder")
        profile = fit_profile(
            TRAINING_QUERIES, encoder.encode, encoder_fingerprint=encoder.fingerprint
        )
        assert profile is not None
        if with_profile:
            profile.write(release)
        _copy(scratch / "index", release / "index")
        (release / "golden.json").write_bytes(golden.read_bytes())
        manifest = seal_release(release, fingerprint=encoder.fingerprint, dim=encoder.dim)
        target = (releases or root) / manifest.release_id
        target.parent.mkdir(parents=True, exist_ok=True)
        release.rename(target)
        return target

    return make


@pytest.fixture(scope="session")
def release_a(make_release: MakeRelease) -> Path:
    return make_release(1)


@pytest.fixture(scope="session")
def release_b(make_release: MakeRelease) -> Path:
    return make_release(2)


@pytest.fixture(scope="session")
def triton_venv() -> Path:
    path = Path(__file__).parents[2] / ".venv-triton"
    return Path(os.environ.get("MMR_TRITON_VENV", path))


@pytest.fixture
def registry(release_a: Path, release_b: Path) -> InMemoryTracking:
    return new_registry(release_a, release_b)


def new_registry(*releases: Path) -> InMemoryTracking:
    registry = InMemoryTracking()
    for release in releases:
        registry.register(release_id=release.name, release_dir=release, run_id=None, tags={})
    return registry


@pytest.fixture(scope="session")
def serve_settings(free_ports: Callable[[], int]) -> ServeSettings:
    base = free_ports()
    return ServeSettings(
        http_port=base,
        grpc_port=base + 1,
        metrics_port=base + 2,
        models=ModelSettings(threads=1),
    )


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, serve_settings: ServeSettings
) -> Iterator[Workspace]:
    """An empty workspace whose server, if one was started, is stopped at the end."""
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace"), create=True)
    yield workspace
    launcher.shut_down(workspace, grace_s=serve_settings.stop_grace_s)


class Customers:
    """Search without a pause from three threads while the block runs."""

    def __init__(self, url: str) -> None:
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url, self._done = url, threading.Event()
        self._threads = [threading.Thread(target=self._search) for _ in range(3)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _search(self) -> None:
        with SearchClient(self._url) as client:
            while not self._done.is_set():
                try:
                    answer = client.search("red sofa", 5)
                except ServingError as error:
                    self.failures.append(str(error))
                    continue
                seeds = {hit.product_id.split("-")[0] for hit in answer.hits}
                self.answered[f"{answer.release_id} {sorted(seeds)} {len(answer.hits)}"] += 1


@pytest.fixture
def customers() -> type[Customers]:
    return Customers


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def _write_encoder(directory: Path, seed: int) -> OnnxQueryEncoder:
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


def _write_index(
    scratch: Path, encoder: OnnxQueryEncoder, seed: int, products: pa.Table | None
) -> None:
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


def _write_golden(path: Path, encoder: OnnxQueryEncoder, index: Path, seed: int) -> None:
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


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    triton_venv: Path,
    release_a: Path,
    free_ports: Callable[[], int],
) -> Iterator[tuple[Workspace, RunningServer]]:
    """A workspace whose running server answers with release A."""
    workspace = Workspace.open(tmp_path_factory.mktemp("served"), create=True)
    yield from _serving(
        workspace, release_a, ServeSettings.from_port_base(free_ports()), triton_venv
    )


@pytest.fixture(scope="session")
def served_openly(
    tmp_path_factory: pytest.TempPathFactory,
    triton_venv: Path,
    release_a: Path,
    free_ports: Callable[[], int],
) -> Iterator[tuple[Workspace, RunningServer]]:
    """The same, but HTTP takes queries too."""
    workspace = Workspace.open(tmp_path_factory.mktemp("served-openly"), create=True)
    settings = ServeSettings.from_port_base(free_ports()).model_copy(update={"open_http": True})
    yield from _serving(workspace, release_a, settings, triton_venv)


def _serving(
    workspace: Workspace, release: Path, settings: ServeSettings, triton_venv: Path
) -> Iterator[tuple[Workspace, RunningServer]]:
    try:
        server = launcher.start(workspace, settings=settings, triton_venv=triton_venv)
        deploy(release, workspace=workspace, registry=new_registry(release))
        yield workspace, server
    finally:
        launcher.shut_down(workspace, grace_s=settings.stop_grace_s)
