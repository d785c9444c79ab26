"""The stage that decides, on a small real dataset with stand-in embeddings."""

import io
import json
import re
import shutil
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
from mmr.errors import (
    ArtifactError,
    CorruptArtifactError,
    DataContractError,
    IndexMismatchError,
    TrackingError,
)
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.indexing import build_product_index
from mmr.release.bundle import seal
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages import gate_measurements
from mmr.stages.evaluate_gate import GateReport, evaluate_gate
from mmr.tracking import InMemoryTracking
from mmr.types import Float32Array, ProductEmbeddings

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


@pytest.fixture(autouse=True)
def embedding(monkeypatch: pytest.MonkeyPatch) -> None:
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

        images = None
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


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


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
    seal(
        path,
        created_at="2026-01-01T00:00:00Z",
        content={
            "encoder_fingerprint": encoder_fingerprint(model),
            "dim": TOPICS,
            "dataset_hash": "d" * 64,
            "dataset_revision": None,
            "git_revision": None,
            "mlflow_run_id": None,
            "metrics": {},
            "gate_decision": "promote",
        },
    )
    return path


def record(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "gate" / "gate.json").read_text())


def test_a_better_candidate_is_promoted_over_the_tuned_text_only_tower(
    tmp_path: Path, dataset: Path
) -> None:
    report = run(tmp_path, dataset)

    gate = record(tmp_path)
    assert report.decision == gate["decision"] == "promote"
    assert report.baseline_name == gate["baseline_name"] == "tuned text-only"
    comparison = gate["comparisons"]["text_only"]["overall"]["ndcg_at_10"]
    assert comparison["ci_low"] > 0
    assert report.as_metrics()["gate/gain"] == pytest.approx(
        gate["metrics"]["candidate"]["overall"]["ndcg_at_10"]
        - gate["metrics"]["baseline"]["overall"]["ndcg_at_10"]
    )
    assert set(gate["slices"]) == {"kind=type", "kind=colour+type", "cold start", "no image"}


def test_figures_per_query_average_to_the_stated_means(tmp_path: Path, dataset: Path) -> None:
    run(tmp_path, dataset)

    table = pd.read_parquet(tmp_path / "gate" / "per_query.parquet")
    assert list(table.columns) == ["query_id", "query", "system", *METRICS]
    assert set(table.loc[table["query_id"] == "q3", "query"]) == {f"{EVIL} 3"}
    assert len(table) == 2 * TOPICS  # the unjudged query takes no part
    means = table.groupby("system")["ndcg_at_10"].mean()
    for system in ("candidate", "text_only"):
        stated = record(tmp_path)["metrics"][system]["overall"]
        assert stated["ndcg_at_10"] == pytest.approx(means[system])
        assert stated["count"] == TOPICS


def test_a_champion_is_scored_anew_and_decides_while_text_only_is_still_reported(
    tmp_path: Path, dataset: Path
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.05)

    report = run(tmp_path, dataset, candidate=0.5, champion=champion)

    gate = record(tmp_path)
    assert report.decision == "reject"
    assert gate["baseline_name"].startswith("champion ")
    assert set(gate["metrics"]) == {"candidate", "champion", "text_only", "baseline"}
    assert gate["metrics"]["baseline"] == gate["metrics"]["champion"]
    assert gate["comparisons"]["champion"]["overall"]["ndcg_at_10"]["gain"] < 0
    assert gate["comparisons"]["text_only"]["overall"]["ndcg_at_10"]["gain"] > 0


def test_a_champion_of_another_dataset_schema_and_metric_version_is_scored_anew(
    tmp_path: Path, dataset: Path
) -> None:
    """Its stored figures would beat every candidate; they are looked at by nobody."""
    stored = {"overall": dict.fromkeys(METRICS, 0.9999), "slices": {}}
    champion = write_release(
        tmp_path / "champion",
        noise=0.6,
        evidence={
            "primary_metric": "ndcg_at_10",
            "metrics": {"candidate": stored},
            "versions": {"metrics": METRIC_VERSION - 1, "dataset_schema": 0},
        },
    )

    report = run(tmp_path, dataset, champion=champion)

    gate = record(tmp_path)
    assert report.decision == "promote"
    assert report.baseline_name.startswith("champion ")
    # The champion is the text-only stand-in's equal: scored by the same code, they are equal.
    assert gate["metrics"]["champion"] == gate["metrics"]["text_only"]
    assert gate["versions"]["metrics"] == METRIC_VERSION
    said = gate["lineage"]["champion_rescored"]
    assert f"with metrics {METRIC_VERSION}; released on dataset dddddddddddd" in said
    assert said.endswith(f"with metrics {METRIC_VERSION - 1}")


@pytest.mark.parametrize("why", ["model", "release"])
def test_a_champion_that_this_version_cannot_run_holds_the_candidate_for_a_person(
    why: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    if why == "release":
        file = champion / "release.json"
        file.chmod(0o644)
        write_json(file, {**json.loads(file.read_text()), "format_version": 0})
    else:
        stand_in = sys.modules["mmr.stages.embedding"]
        embed = stand_in.embed_queries

        def refuse_the_old(model: Path, queries: Sequence[str], *, cache: Path) -> Float32Array:
            if champion in model.parents:
                raise ArtifactError("has format 0, but this mmr reads another")
            return embed(model, queries, cache=cache)

        monkeypatch.setattr(stand_in, "embed_queries", refuse_the_old)

    report = run(tmp_path, dataset, champion=champion)

    assert report.decision == "hold"
    assert report.baseline_name == "tuned text-only"
    (reason,) = (reason for reason in report.reasons if not reason.passed)
    assert reason.rule == "champion scored"
    assert "compared with tuned text-only instead" in reason.detail
    assert "format" in reason.detail
    assert set(record(tmp_path)["metrics"]) == {"candidate", "text_only", "baseline"}


def test_a_damaged_champion_stops_the_gate(tmp_path: Path, dataset: Path) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    (champion / "release.json").chmod(0o644)
    (champion / "release.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        run(tmp_path, dataset, champion=champion)
    assert not (tmp_path / "gate").exists()


def test_a_champion_whose_weights_were_changed_is_not_even_loaded(
    tmp_path: Path, dataset: Path
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    changed = next(path for path in (champion / "product_encoder").rglob("*") if path.is_file())
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(CorruptArtifactError, match=f"{changed.name} differs from its recorded"):
        run(tmp_path, dataset, champion=champion)
    assert not (tmp_path / "gate").exists()


def test_an_index_of_another_encoder_or_dataset_is_refused_with_both_named(
    tmp_path: Path, dataset: Path
) -> None:
    other = write_model(tmp_path / "other", noise=0.3)
    index = write_index(tmp_path / "index", other, dataset)
    mine = encoder_fingerprint(write_model(tmp_path / "candidate", noise=0.1))
    with pytest.raises(IndexMismatchError) as caught:
        run(tmp_path, dataset)
    assert mine in str(caught.value)
    assert encoder_fingerprint(other) in str(caught.value)

    shutil.rmtree(index)
    shutil.rmtree(tmp_path / "index-vectors")
    write_index(index, tmp_path / "candidate", dataset, dataset_hash="e" * 64)
    with pytest.raises(IndexMismatchError, match="was built from dataset eeee"):
        run(tmp_path, dataset)
    assert not (tmp_path / "gate").exists()


def test_an_export_that_answers_otherwise_is_rejected_and_the_report_says_so(
    tmp_path: Path, dataset: Path
) -> None:
    write_model(tmp_path / "candidate", noise=0.1, export=0.05)

    report = run(tmp_path, dataset)

    assert report.decision == "reject"
    (reason,) = (reason for reason in report.reasons if not reason.passed)
    assert reason.rule == "export parity"
    for name in ("gate.md", "report.html"):
        page = (tmp_path / "gate" / name).read_text()
        assert "export parity" in page
        assert "reject" in page
        assert f"of {TOPICS} queries, 0 allowed" in page


def test_what_was_measured_is_on_record(tmp_path: Path, dataset: Path) -> None:
    report = run(tmp_path, dataset)

    serving = record(tmp_path)["serving"]
    assert serving["index_recall"] == 1.0
    assert serving["index_queries"] == serving["parity_queries"] == TOPICS
    assert 0 < serving["latency_p50_ms"] <= serving["latency_p99_ms"] < 10_000
    assert report.as_metrics()["gate/latency_p99_ms"] == serving["latency_p99_ms"]


def test_the_worst_queries_are_listed_with_both_results(tmp_path: Path, dataset: Path) -> None:
    settings = CONFIG.model_copy(
        update={"worst_queries": 3, "regression_margin": 0.1, "max_regressions": 2}
    )
    report = run(tmp_path, dataset, candidate=0.9, settings=settings)

    gate = record(tmp_path)
    table = pd.read_parquet(tmp_path / "gate" / "per_query.parquet")
    sides = table.pivot(index="query_id", columns="system", values="ndcg_at_10")
    loss = (sides["candidate"] - sides["text_only"]).sort_values()
    assert [query["gain"] for query in gate["worst_queries"]] == pytest.approx(loss.iloc[:3])
    worst = gate["worst_queries"][0]
    assert worst["reference"] == pytest.approx(sides.loc[worst["query_id"], "text_only"])
    assert [len(products) for products in worst["products"].values()] == [5, 5]
    regressed = int((loss < -0.1).sum())
    assert regressed > 2
    (reason,) = (reason for reason in report.reasons if reason.rule == "regressions")
    assert (reason.passed, reason.otherwise) == (False, "hold")
    assert f"{regressed} of {TOPICS} queries lose more than 0.1" in reason.detail
    text = (tmp_path / "gate" / "gate.md").read_text()
    assert text.count("&lt;script>alert('x')&lt;/script> &") >= 3


def test_the_short_report_trusts_no_title_and_no_query(tmp_path: Path, dataset: Path) -> None:
    run(tmp_path, dataset, candidate=0.9)

    text = (tmp_path / "gate" / "gate.md").read_text()
    assert text.startswith("# Gate: ")
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_the_champions_own_encoder_is_held(tmp_path: Path, dataset: Path) -> None:
    champion = write_release(tmp_path / "champion", noise=0.1)

    report = run(tmp_path, dataset, candidate=0.1, champion=champion)

    assert report.decision == "hold"
    assert next(reason.rule for reason in report.reasons if not reason.passed) == "new encoder"


def test_the_run_holds_settings_history_lineage_and_the_report(
    tmp_path: Path, dataset: Path
) -> None:
    seen: list[set[str]] = []

    class Watching(InMemoryTracking):
        def log_run(self, **run) -> str:
            seen.append({file.name for file in run["artifacts"].iterdir()})
            return super().log_run(**run)

    tracker = Watching()
    report = run(tmp_path, dataset, tracker=tracker)

    logged = tracker.runs[report.run_id]
    assert record(tmp_path)["mlflow_run_id"] == report.run_id
    assert seen == [{"gate.json", "gate.md", "per_query.parquet", "report.html"}]
    assert logged.params["training.d.e"] == 2
    assert logged.params["gate.primary_metric"] == "ndcg_at_10"
    assert logged.history == [{"stage": "fusion", "epoch": 1, "loss": 0.5}]
    assert logged.tags["dataset_hash"] == Dataset(dataset).manifest.content_hash
    assert logged.tags["dataset_revision"] == "md5.dir"
    assert logged.tags["git_revision"] == "c0ffee"
    assert logged.metrics == report.as_metrics()


def test_the_report_is_one_small_file_that_trusts_no_title_and_no_query(
    tmp_path: Path, dataset: Path
) -> None:
    run(tmp_path, dataset, candidate=0.5)

    page = (tmp_path / "gate" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;vase&#34;" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "url(" not in page
    assert "data:image/jpeg;base64," in page
    assert '<div class="none">no image</div>' in page
    assert len(page) < 2_000_000


def test_a_dataset_without_judged_validation_queries_is_refused_and_nothing_written(
    tmp_path: Path,
) -> None:
    dataset = write_dataset(tmp_path / "dataset", judged_split="train")
    with pytest.raises(DataContractError, match="no validation query"):
        run(tmp_path, dataset)
    assert not (tmp_path / "gate").exists()


def test_a_refusing_tracker_leaves_no_result_behind(tmp_path: Path, dataset: Path) -> None:
    class Refusing(InMemoryTracking):
        def log_run(self, **run) -> str:
            raise TrackingError("not reachable")

    with pytest.raises(TrackingError):
        run(tmp_path, dataset, tracker=Refusing())
    assert not list(tmp_path.glob("*gate*"))


def test_the_step_can_be_run_again_but_replaces_nothing_foreign(
    tmp_path: Path, dataset: Path
) -> None:
    first = run(tmp_path, dataset)
    again = run(tmp_path, dataset)
    timed = {"gate/latency_p50_ms", "gate/latency_p99_ms"}
    assert {name for name, value in again.metrics.items() if value != first.metrics[name]} <= timed

    (tmp_path / "gate" / "gate.json").unlink()
    with pytest.raises(ArtifactError, match="exists already"):
        run(tmp_path, dataset)
