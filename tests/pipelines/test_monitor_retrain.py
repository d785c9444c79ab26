"""`mmr monitor --retrain`: drift is answered by one training, here or on Kubeflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mmr.config.monitor import MonitorConfig
from mmr.errors import ArtifactError, ConfigError
from pipelines.answering import LOCAL, Breach, RetrainLedger, RetrainRecord
from pipelines.retrain import retrain
from pipelines.retraining import respond
from pipelines.watching import Look, MonitorRequest, look
from tests.pipelines.conftest import FakeKubeflow, Run
from tests.pipelines.watched_shop import DRIFTED, USUAL, Shop


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
