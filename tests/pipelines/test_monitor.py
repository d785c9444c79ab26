"""`mmr monitor`: from a query log that the live model's own code wrote, to report and status."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from mmr.config.monitor import MonitorConfig
from mmr.errors import ArtifactError, ConfigError
from mmr.monitoring.reference import fit_profile
from mmr.release.bundle import Release, seal
from mmr.release.query_profile import QueryPlacer, QueryProfile
from mmr.workspace import Workspace
from pipelines.answering import LOCAL, Breach, RetrainLedger, RetrainRecord
from pipelines.retrain import retrain
from pipelines.retraining import respond
from pipelines.watching import Look, MonitorRequest, look
from serving.live.places import LivePlaces
from serving.live.settings import QueryLogSettings, QueryText
from serving.live.traffic import LiveTraffic
from serving.models.engine import Answer, Question
from serving.models.requests import RequestOptions
from serving.repository import ActiveVersion, ModelRepository
from tests.monitoring import exposition_parser as exposition
from tests.monitoring.conftest import COLOURS, PLACES, TYPES, draw, encode
from tests.pipelines.conftest import FakeKubeflow, Run

FINGERPRINT = "f" * 64
PRODUCTS = 40
DRIFTED = [f"oak hammock{n} terrace" for n in range(400)]
USUAL = draw(np.random.default_rng(2), 900)


class Shop:
    """A workspace that serves a release, and customers who ask."""

    def __init__(self, path: Path) -> None:
        self.workspace = Workspace.open(path, create=True)
        self.release = self.add_release("2026-01-01T00:00:00+00:00", with_profile=True)
        ModelRepository(self.workspace.serving).set_active(
            ActiveVersion(1, self.release.release_id)
        )

    def add_release(
        self, created_at: str, *, with_profile: bool, parent: str | None = None, ndcg: float = 0.5
    ) -> Release:
        draft = self.workspace.releases / "draft"
        (draft / "index").mkdir(parents=True)
        ids = [f"p{number}" for number in range(PRODUCTS)]
        table = pa.table({"product_id": ids, "title": ids})
        flags = {"has_text": [True] * PRODUCTS, "has_image": [False] * PRODUCTS}
        for name, values in flags.items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, draft / "index" / "products.parquet")
        if with_profile:
            every = [f"{c} {t} {p}" for c in COLOURS for t in TYPES for p in PLACES]
            profile = fit_profile(every, encode, encoder_fingerprint=FINGERPRINT)
            assert profile is not None
            profile.write(draft)
        content = {
            "encoder_fingerprint": FINGERPRINT,
            "dim": 24,
            "dataset_hash": "d" * 64,
            "dataset_revision": None,
            "git_revision": None,
            "mlflow_run_id": None,
            "metrics": {"ndcg": ndcg},
            "gate_decision": "promote",
            "parent_release": parent,
        }
        manifest = seal(draft, created_at=created_at, content=content)
        draft.rename(self.workspace.releases / manifest.release_id)
        return Release.open(self.workspace.releases / manifest.release_id)

    def ask(self, texts: list[str], *, failing: int = 0) -> None:
        """Logs queries with the live model's own code."""
        profile = QueryProfile.read(self.release.path, encoder_fingerprint=FINGERPRINT)
        placer = QueryPlacer(profile) if profile else None
        traffic = LiveTraffic(
            self.workspace.serving,
            release_id=self.release.release_id,
            answer=lambda question: self._answer(question, placer),
            ask=lambda question, trial: self._answer(question, placer),
            warn=pytest.fail,
            placer=placer,
        )
        for text in texts:
            question = Question([text], k=3)
            traffic.answered(question, RequestOptions(), self._answer(question, placer), 2.0)
        for _ in range(failing):
            traffic.failed(Question(["oak"], k=3), RequestOptions(), MemoryError("full"), 9.0)
        traffic.close()

    def _answer(self, question: Question, placer: QueryPlacer | None) -> Answer:
        first = len(question.texts[0]) % (PRODUCTS - 3)
        ids = np.array([[f"p{first + n}".encode() for n in range(3)]], dtype=np.object_)
        bins = placer.bins(encode(question.texts)) if placer else None
        return Answer(ids, np.array([[0.9, 0.8, 0.7]], dtype=np.float32), ids, bins)

    @property
    def path(self) -> str:
        return str(self.workspace.path)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def test_profile_that_is_not_the_recorded_one_is_refused(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL)
    profile = shop.release.path / "query_profile" / "profile.json"
    profile.chmod(0o644)
    profile.write_text(profile.read_text() + " ")

    status, out, err = mmr("monitor", "--workspace", shop.path)

    assert status == 1
    assert "query_profile/profile.json differs from its recorded hash" in out + err
    assert not (shop.workspace.monitor / "report").exists()


def test_usual_queries_are_within_all_limits(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL)
    status, out, err = mmr("monitor", "--workspace", shop.path)

    assert status == 0, out + err
    assert f"900 records of release {shop.release.release_id}" in out
    assert "breach" not in out.replace("warn / breach", "")
    report = json.loads((shop.workspace.monitor / "report" / "report.json").read_text())
    assert report["status"] == "ok"
    assert report["records"] == 900
    assert report["coverage"] > 0
    metrics = exposition.parse((shop.workspace.monitor / "mmr.prom").read_text())
    assert metrics["mmr_queries"].samples == {(): 900.0}
    for name in ("report.html", "report.md"):
        assert shop.release.release_id in (shop.workspace.monitor / "report" / name).read_text()


def test_drifted_queries_are_a_breach_with_a_status_of_its_own(shop: Shop, mmr: Run) -> None:
    shop.ask(DRIFTED)
    status, out, _ = mmr("monitor", "--workspace", shop.path, "--json")

    assert status == 3
    report = json.loads(out)
    breached = [m["name"] for m in report["measures"] if m["status"] == "breach"]
    assert breached == ["embedding_drift", "new_words"]
    assert report["new_words"][0] == ["terrace", 400]


def test_hashed_log_tells_drift_too_and_no_word(shop: Shop, mmr: Run, tmp_path: Path) -> None:
    LivePlaces(shop.workspace.serving).write_query_log_settings(
        QueryLogSettings(query=QueryText.HASH)
    )
    shop.ask([f"{text} number{n}" for n in range(5) for text in DRIFTED])
    status, out, _ = mmr("monitor", "--workspace", shop.path, "--json")

    report = json.loads(out)
    found = {m["name"]: m["status"] for m in report["measures"]}
    assert status == 3
    assert found["embedding_drift"] == "breach"
    assert found["unseen_products"] == "not recorded"
    assert report["new_words"] == []
    log = "".join(path.read_text() for path in shop.workspace.serving.glob("query-log/*.jsonl"))
    assert "hammock" not in log + out


def test_failures_of_the_model_are_told(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL, failing=100)
    status, out, _ = mmr("monitor", "--workspace", shop.path)

    assert status == 3
    assert "100 of 1,000: MemoryError 100" in out


def test_torn_and_damaged_lines_are_named_and_the_rest_counts(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL[:300])
    (closed,) = (shop.workspace.serving / "query-log").glob("*.jsonl")
    with closed.open("ab") as file:
        file.write(b'{"time": "2026\n\xff\xfe\n')
    growing = closed.with_name("29990101T000000000000-1.jsonl.open")
    growing.write_bytes(closed.read_bytes().splitlines()[0][:50])
    status, out, _ = mmr("monitor", "--workspace", shop.path)

    assert status == 0
    assert "300 records" in out
    assert f"{closed.name}:301" in out
    assert f"{closed.name}:302" in out
    assert growing.name not in out  # its last line is being written


def test_release_from_before_profiles_is_explained(shop: Shop, mmr: Run) -> None:
    shop.release = shop.add_release("2025-01-01T00:00:00+00:00", with_profile=False, ndcg=0.1)
    shop.ask(USUAL)
    status, out, _ = mmr("monitor", shop.release.release_id, "--workspace", shop.path, "--json")

    assert status == 0
    found = {measure["name"]: measure for measure in json.loads(out)["measures"]}
    assert found["embedding_drift"]["status"] == "not recorded"
    assert "no query profile" in found["embedding_drift"]["note"]
    assert "`mmr run` makes one" in found["embedding_drift"]["note"]
    assert found["p95_ms"]["status"] == "ok"


def test_log_that_is_not_there_says_how_to_get_one(shop: Shop, mmr: Run) -> None:
    status, _, err = mmr("monitor", "--workspace", shop.path)

    assert status == 1
    assert err.count("\n") == 1
    assert "There is no query log" in err
    assert "`mmr deploy RELEASE`" in err


def test_other_places_for_log_report_and_metrics(shop: Shop, mmr: Run, tmp_path: Path) -> None:
    shop.ask(USUAL[:250])
    elsewhere = tmp_path / "gathered"
    (shop.workspace.serving / "query-log").rename(elsewhere)
    status, out, _ = mmr(
        *("monitor", "--workspace", shop.path, "--log", str(elsewhere)),
        *("--out", str(tmp_path / "out"), "--textfile", str(tmp_path / "node" / "a.prom")),
    )

    assert status == 0, out
    assert (tmp_path / "out" / "report.html").is_file()
    assert exposition.parse((tmp_path / "node" / "a.prom").read_text())
    assert not shop.workspace.monitor.exists()


def test_second_look_replaces_the_first_as_a_whole(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL[:250])
    mmr("monitor", "--workspace", shop.path)
    shop.ask(USUAL[:50])
    mmr("monitor", "--workspace", shop.path)

    names = sorted(path.name for path in shop.workspace.monitor.rglob("*"))
    assert names == ["mmr.prom", "report", "report.html", "report.json", "report.md"]
    report = json.loads((shop.workspace.monitor / "report" / "report.json").read_text())
    assert report["records"] == 300


def test_printed_settings_are_read_back_the_same_and_decide(
    shop: Shop, mmr: Run, tmp_path: Path
) -> None:
    status, out, _ = mmr("monitor", "--print-settings")
    assert status == 0
    file = tmp_path / "monitor.yaml"
    file.write_text(out)
    assert mmr("monitor", "--print-settings", "--settings", str(file))[1] == out

    shop.ask(USUAL)
    file.write_text("p95_ms: {breach: 0.5}\n")
    assert mmr("monitor", "--workspace", shop.path, "--settings", str(file))[0] == 3
    file.write_text("p95_ms: {breech: 0.5}\n")
    status, _, err = mmr("monitor", "--workspace", shop.path, "--settings", str(file))
    assert status == 1
    assert "p95_ms.breech" in err


class Training:
    """Counts how often a training is started; `fails` makes it fail."""

    where, source = LOCAL, "feed/"

    def __init__(self, revision: str | None = "r2", *, fails: bool = False) -> None:
        self.revision, self.fails, self.times = revision, fails, 0

    def train(self) -> str:
        self.times += 1
        if self.fails:
            raise ConfigError("the feed has no queries")
        return "promote, release 0123"

    def __str__(self) -> str:
        return "mmr run feed/"


def _look(shop: Shop) -> Look:
    return look(MonitorRequest(workspace=shop.workspace.path, settings=MonitorConfig()))


def _respond(shop: Shop, training: Training, *, dry_run: bool = False, **settings: Any) -> str:
    config = MonitorConfig(**settings)
    return respond(_look(shop), training, settings=config, dry_run=dry_run).message


def test_drift_is_answered_by_one_training_and_not_by_a_second(shop: Shop) -> None:
    shop.ask(DRIFTED)
    training = Training()

    first = _respond(shop, training)
    second = _respond(shop, training)

    assert "Retrained because of embedding_drift, new_words" in first
    assert "release 0123" in first
    assert "Not retrained: a training was started for release" in second
    assert training.times == 1


def test_training_that_failed_is_not_repeated_at_once(shop: Shop) -> None:
    shop.ask(DRIFTED)
    training = Training(fails=True)
    with pytest.raises(ConfigError, match="no queries"):
        _respond(shop, training)

    assert "failed" in _respond(shop, training)
    assert training.times == 1
    states = [record.state for record in RetrainLedger(shop.workspace).records()]
    assert states == ["started", "failed"]


def test_training_that_was_killed_counts_until_the_pause_is_over(shop: Shop) -> None:
    shop.ask(DRIFTED)
    for days, times in ((6.9, 0), (7.1, 1)):
        _write_record(shop, age=timedelta(days=days))
        training = Training()
        _respond(shop, training)
        assert training.times == times


def _write_record(shop: Shop, *, age: timedelta) -> None:
    record = RetrainRecord(
        when=datetime.now(UTC) - age,
        release_id=shop.release.release_id,
        measures=["new_words"],
        source="feed/",
        where=LOCAL,
        state="started",
    )
    shop.workspace.monitor.mkdir(parents=True, exist_ok=True)
    torn = b'{"when": "20'  # as a kill leaves it
    line = record.model_dump_json().encode() + b"\n" + torn
    (shop.workspace.monitor / "retrains.jsonl").write_bytes(line)


def test_newer_trained_release_is_an_answer_and_a_refreshed_one_is_none(shop: Shop) -> None:
    shop.ask(DRIFTED)
    today = datetime.now(UTC).isoformat(timespec="seconds")
    shop.add_release(today, with_profile=True, parent=shop.release.release_id, ndcg=0.6)
    training = Training()
    assert "Would start" in _respond(shop, training, dry_run=True)

    newer = shop.add_release(today, with_profile=True, ndcg=0.7)
    message = _respond(shop, training)
    assert f"Not retrained: release {newer.release_id} was trained after it" in message
    assert training.times == 0


def test_data_that_was_trained_on_already_is_not_trained_on_again(shop: Shop) -> None:
    shop.ask(DRIFTED)
    summary = shop.workspace.runs / "20260101T000000Z" / "summary.json"
    summary.parent.mkdir(parents=True)
    run = {"finished_at": "2026-01-01", "source_revision": "r1", "gate": {"decision": "hold"}}
    summary.write_text(json.dumps(run))
    same, other = Training("r1"), Training("r2")

    assert "the same data gives the same model" in _respond(shop, same)
    assert "Retrained" in _respond(shop, other)
    assert (same.times, other.times) == (0, 1)


def test_what_no_training_mends_starts_none(shop: Shop) -> None:
    shop.ask(USUAL, failing=100)
    training = Training()

    assert _respond(shop, training).startswith("Nothing that a training answers")
    assert training.times == 0


def test_dry_run_starts_and_records_nothing(shop: Shop) -> None:
    shop.ask(DRIFTED)
    training = Training()

    assert "Would start, because of embedding_drift, new_words: mmr run feed/" in _respond(
        shop, training, dry_run=True
    )
    assert training.times == 0
    assert RetrainLedger(shop.workspace).records() == []


def test_two_looks_at_once_start_one_training(shop: Shop) -> None:
    shop.ask(DRIFTED)
    shop.workspace.monitor.mkdir()
    breach = Breach(shop.release, ["new_words"], "feed/", None)
    with (
        FileLock(shop.workspace.monitor / "retrain.lock"),
        pytest.raises(ArtifactError, match="Another `mmr monitor --retrain`"),
    ):
        RetrainLedger(shop.workspace).answer(
            breach, where=LOCAL, pause=timedelta(days=1), train=pytest.fail
        )


def test_command_trains_on_the_feed_and_a_feed_that_is_wrong_is_told_before_the_look(
    shop: Shop, mmr: Run, tmp_path: Path
) -> None:
    shop.ask(DRIFTED)
    status, _, err = mmr("monitor", "--workspace", shop.path, "--retrain", str(tmp_path / "none"))
    assert status == 1
    assert "does not exist" in err
    assert not shop.workspace.monitor.exists()

    arguments = ("monitor", "--workspace", shop.path, "--retrain", "showroom:products=40,queries=9")
    status, out, _ = mmr(*arguments, "--preset", "quick", "--dry-run", "--no-deploy")
    assert status == 3
    assert "Would start, because of embedding_drift, new_words: mmr run showroom:" in out
    assert "--no-deploy" in out


def test_drift_submits_one_run_of_the_retrain_pipeline_to_kubeflow(
    shop: Shop, mmr: Run, kubeflow: FakeKubeflow
) -> None:
    shop.ask(DRIFTED)
    command = (
        *("monitor", "--workspace", shop.path, "--retrain", "/mnt/mmr/feed", "--to", "kubeflow"),
        *("--cluster-workspace", "/mnt/mmr/shop", "--tracking-uri", "http://mlflow:5000"),
        *("--host", kubeflow.url, "--token", "a-secret", "--preset", "quick"),
    )
    status, out, err = mmr(*command)

    assert status == 0, err
    (run,) = kubeflow.runs
    assert f"on Kubeflow: run {run['run_id']}" in out
    assert "a-secret" not in out + err
    parameters = run["runtime_config"]["parameters"]
    assert set(parameters) == set(retrain.component_spec.inputs)
    assert (parameters["source"], parameters["workspace"]) == ("/mnt/mmr/feed", "/mnt/mmr/shop")
    assert parameters["deploy"] == "no"

    status, out, _ = mmr(*command)
    assert status == 3
    assert "Not retrained: a training was started" in out
    assert "submitted" in out
    assert len(kubeflow.runs) == 1


def test_cluster_that_cannot_be_reached_is_told_before_anything_is_submitted(
    shop: Shop, mmr: Run
) -> None:
    shop.ask(DRIFTED)
    status, _, err = mmr(
        *("monitor", "--workspace", shop.path, "--retrain", "/mnt/mmr/feed", "--to", "kubeflow"),
        *("--cluster-workspace", "/home/me/shop", "--tracking-uri", "http://mlflow:5000"),
    )

    assert status == 1
    assert "--host" in err or "/home/me/shop" in err
