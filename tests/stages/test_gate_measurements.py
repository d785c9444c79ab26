"""What the gate measures, on a tiny real model with its real export and index."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmr.config.data import ImportConfig, PrepareConfig
from mmr.config.gate import GateConfig
from mmr.config.index import IndexConfig, IndexKind
from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.data.importing import import_feed
from mmr.data.prepare import prepare_dataset
from mmr.data.writer import new_dataset
from mmr.indexing import ProductIndex, build_product_index
from mmr.release.fingerprint import encoder_fingerprint
from mmr.release.latency import measure_latency
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.embedding import embed_queries
from mmr.stages.gate_measurements import data_age, index_recall, measure_candidate

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_model_its_export_and_its_index_pass(
    untrained_model: Callable[[FusionKind], Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    model = untrained_model(FusionKind.TEXT_ONLY)
    cache = tmp_path / "cache"
    embed_catalogue(dataset=tiny_dataset, model=model, out=tmp_path / "vectors", cache=cache)
    build_product_index(
        vectors=tmp_path / "vectors", queries=None, out=tmp_path / "index", settings=IndexConfig()
    )
    data = Dataset(tiny_dataset)
    texts = data.queries("validation")["query"].tolist()

    measured = measure_candidate(
        data,
        model=model,
        fingerprint=encoder_fingerprint(model),
        index=tmp_path / "index",
        texts=texts,
        query_vectors=embed_queries(model, texts, cache=cache),
        config=GateConfig(latency_queries=7),
    )

    serving = measured.serving
    assert (serving.index_recall, serving.index_queries) == (1.0, len(texts))
    assert serving.parity_distance < 1e-6
    assert (serving.parity_changed, serving.latency_queries) == (0, 7)
    assert measured.data_age.newest is None  # generated data is of no time


def test_recall_counts_what_the_index_misses(tmp_path: Path) -> None:
    """Against an oracle that looks every product up, on an index that visits one list only."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = ProductIndex.open(_write_index(tmp_path, vectors), encoder_fingerprint="f" * 64)
    queries = vectors[::100] + 0.1 * rng.normal(size=(30, 12)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    found, _ = index.search(queries, 100)
    wanted = np.argsort(-(queries @ vectors.T), axis=1)[:, :100]
    slow = np.mean(
        [len(set(a) & set(b)) / 100 for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    )
    assert slow < 0.9
    assert index_recall(index, queries) == pytest.approx(slow, abs=0.002)


def _write_index(root: Path, vectors: np.ndarray) -> Path:
    import json

    import pyarrow.parquet as pq

    source = root / "vectors"
    source.mkdir()
    np.save(source / "vectors.npy", vectors)
    rows = len(vectors)
    columns = {
        "product_id": [f"p{row}" for row in range(rows)],
        "title": [""] * rows,
        "has_text": [True] * rows,
        "has_image": [True] * rows,
    }
    pq.write_table(pa.table(columns), source / "products.parquet")
    record = {"format_version": 1, "encoder_fingerprint": "f" * 64, "dim": 12, "rows": rows}
    (source / "vectors.json").write_text(json.dumps({**record, "dataset_hash": "d" * 64}))
    settings = IndexConfig(kind=IndexKind.IVF, min_recall=0.01)
    build_product_index(vectors=source, queries=None, out=root / "index", settings=settings)
    return root / "index"


class SlowEncoder:
    """Takes as long as it is told, call by call."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        import time

        time.sleep(0.05 if len(self.asked) <= 10 else 0.002)
        return np.zeros((len(texts), 1), dtype=np.float32)


def test_latency_is_of_single_queries_after_a_warm_up() -> None:
    encoder = SlowEncoder()
    latency = measure_latency(encoder, ["a", "b"], queries=20)
    assert len(encoder.asked) == 30
    assert set(encoder.asked) == {"a", "b"}
    assert latency.queries == 20
    assert 2 <= latency.p50_ms <= latency.p99_ms
    assert latency.p50_ms < 50  # the slow ones were the warm-up


def _dataset(path: Path, times: list[object] | None, as_of: str | None) -> Dataset:
    attributes = {} if times is None else {"updated_at": pa.array(times).type}
    with new_dataset(path, attributes=attributes) as writer:
        writer.add_products(
            {
                **{"product_id": f"p{row}", "title": "vase", "description": None, "image": None},
                **({} if times is None else {"updated_at": times[row]}),
            }
            for row in range(3)
        )
        writer.finish(name="vases", prepared=None, as_of=as_of)
    return Dataset(path)


@pytest.mark.parametrize(
    ("times", "as_of", "days", "of"),
    [
        (["2026-05-30", "2026-05-31T12:00:00Z", "?"], "2020-01-01T00:00:00+00:00", 0.5, "product"),
        ([datetime(2026, 5, 22), None, None], None, 10, "newest updated_at"),
        (["?", None, ""], "2026-05-02T00:00:00+00:00", 30, "newest file of the feed"),
        (None, "2026-05-02T00:00:00+00:00", 30, "newest file of the feed"),
        (None, None, None, "the age is unknown"),
    ],
)
def test_the_age_is_that_of_the_newest_product_else_of_the_feed(
    times: list[object] | None, as_of: str | None, days: float | None, of: str, tmp_path: Path
) -> None:
    age = data_age(_dataset(tmp_path / "d", times, as_of), attribute="updated_at", now=NOW)
    assert age.days == (None if days is None else pytest.approx(days))
    assert of in age.of


def test_an_import_notes_the_newest_file_and_preparation_keeps_it(tmp_path: Path) -> None:
    import os

    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "products.csv").write_text("product_id,title\n1,red vase\n2,blue vase\n")
    (feed / "queries.csv").write_text("query_id,query\na,red vase\n")
    (feed / "judgements.csv").write_text("query_id,product_id,grade\na,1,1\n")
    for name, day in (("products", 5), ("queries", 9), ("judgements", 7)):
        changed = datetime(2026, 5, day, tzinfo=UTC).timestamp()
        os.utime(feed / f"{name}.csv", (changed, changed))

    import_feed(feed, out=tmp_path / "imported", settings=ImportConfig())
    prepare_dataset(
        Dataset(tmp_path / "imported"), out=tmp_path / "prepared", settings=PrepareConfig()
    )

    assert Dataset(tmp_path / "prepared").manifest.as_of == "2026-05-09T00:00:00+00:00"
    age = data_age(Dataset(tmp_path / "prepared"), attribute="updated_at", now=NOW)
    assert age.days == 23
