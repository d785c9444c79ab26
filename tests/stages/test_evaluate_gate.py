"""The stage that decides, on a small real dataset with stand-in embeddings."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, DataContractError, IndexMismatchError, TrackingError
from mmr.evaluation.metrics import METRICS
from mmr.release.fingerprint import encoder_fingerprint
from mmr.tracking import InMemoryTracking
from mmr.training.figures import Figures
from tests.stages.gate_stand_ins import (
    CONFIG,
    EVIL,
    TOPICS,
    record,
    run,
    write_dataset,
    write_index,
    write_model,
)

pytestmark = pytest.mark.usefixtures("stand_in_embedding")


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


def test_stages_that_were_left_out_are_on_record_and_on_the_pages(
    tmp_path: Path, dataset: Path
) -> None:
    model = write_model(tmp_path / "candidate", noise=0.1)
    training = json.loads((model / "training.json").read_text())
    better, worse = Figures(0.75, 0.5, 0.875), Figures(0.75, 0.5, 0.75)
    training["adoptions"] = {
        "finetune_vision": {"before": better.named(), "after": worse.named()},
        "align_queries": {"before": worse.named(), "after": better.named()},
    }
    (model / "training.json").write_text(json.dumps(training))

    run(tmp_path, dataset)

    told = f"finetune_vision (without it {better}; with it {worse})"
    assert record(tmp_path)["stages_left_out"] == [told]
    for name in ("gate.md", "report.html"):
        page = (tmp_path / "gate" / name).read_text()
        assert told in page
        assert "align_queries" not in page


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
