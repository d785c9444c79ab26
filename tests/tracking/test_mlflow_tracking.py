"""What only MLflow can get wrong: its limits, its files, its servers."""

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmr.errors import ConfigError, TrackingError
from mmr.tracking import AuditRecord, open_tracking
from mmr.tracking.audit import append_record, read_records
from mmr.tracking.connection import check_recordable, without_password

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

MakeRelease = Callable[[str], Path]


def test_a_run_keeps_everything_it_was_given(store: str, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "gate.json").write_text("{}")
    run_id = open_tracking(store).log_run(
        name="gate",
        params={"epochs": 3, "long": "x" * 10_000, **{f"p{n}": n for n in range(150)}},
        metrics={"ndcg_at_10": 0.5, "kind=visual/ndcg_at_10": 0.25},
        history=[
            {
                "stage": "fusion",
                "epoch": epoch,
                "loss": 1 / (epoch + 1),
                "data_wait_share": 0.01,
                "note": "text",
            }
            for epoch in range(1200)
        ],
        tags={"dataset_hash": "abc"},
        artifacts=tmp_path / "report",
    )

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "gate"
    assert (run.data.params["epochs"], run.data.params["p149"]) == ("3", "149")
    assert len(run.data.params["long"]) == 6000
    assert run.data.metrics["ndcg_at_10"] == 0.5
    assert run.data.metrics["kind_visual/ndcg_at_10"] == 0.25
    assert run.data.tags["dataset_hash"] == "abc"
    losses = client.get_metric_history(run_id, "fusion/loss")
    assert {point.step: point.value for point in losses}[1199] == pytest.approx(1 / 1200)
    waits = client.get_metric_history(run_id, "fusion/data_wait_share")
    assert [point.value for point in waits] == [0.01] * 1200
    assert [file.path for file in client.list_artifacts(run_id)] == ["gate.json"]
    assert (tmp_path / "mlartifacts" / "mmr").is_dir()


def test_the_version_belongs_to_the_run_that_decided_it(
    store: str, make_release: MakeRelease
) -> None:
    tracking = open_tracking(store)
    run_id = tracking.log_run(name="gate", params={}, metrics={})
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=run_id, tags={})
    assert tracking.releases()[0].run_id == run_id
    tracking.register(release_id="bbb", release_dir=make_release("bbb"), run_id="0" * 32, tags={})
    assert tracking.releases()[0].run_id not in (None, "0" * 32)


def test_the_version_has_a_signature(store: str, make_release: MakeRelease) -> None:
    import mlflow

    tracking = open_tracking(store)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    tracking.promote("aaa", expected=None, why="", who="")
    mlflow.set_tracking_uri(store)
    try:
        info = mlflow.models.get_model_info("models:/mmr-retriever@champion")
    finally:
        mlflow.set_tracking_uri(None)
    assert info.signature.inputs.input_names() == ["query"]
    assert info.signature.outputs.inputs[0].shape == (-1, 4)
    assert info.metadata == {"release_id": "aaa"}


def test_the_process_wide_store_of_mlflow_is_left_alone(
    store: str, make_release: MakeRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = open_tracking(store)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert list((tmp_path / "elsewhere").iterdir()) == []  # MLflow's default store is a file here


def test_audit_records_are_mirrored_as_lines_of_json(
    store: str, make_release: MakeRelease, tmp_path: Path
) -> None:
    tracking = open_tracking(store)
    for release_id in ("aaa", "bbb"):
        tracking.register(
            release_id=release_id, release_dir=make_release(release_id), run_id=None, tags={}
        )
    tracking.promote("aaa", expected=None, why="first", who="ann")
    tracking.promote("bbb", expected="aaa", why="zwei\nZeilen", who="ben")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["release_id"], line["replaced"], line["why"]) for line in lines] == [
        ("aaa", None, "first"),
        ("bbb", "aaa", "zwei\nZeilen"),
    ]


def test_the_mirror_lies_where_the_workspace_wants_it(
    store: str, make_release: MakeRelease, tmp_path: Path
) -> None:
    mirror = tmp_path / "shop" / "audit.jsonl"
    tracking = open_tracking(store, audit_file=mirror)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    tracking.promote("aaa", expected=None, why="first", who="ann")
    assert tracking.mirror == mirror
    assert read_records(mirror) == (tracking.history(), [])


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    mirror = tmp_path / "audit.jsonl"
    record = AuditRecord("2026-01-01", "promote", "aaa", None, "zwei\nZeilen \u2028", "ann")
    append_record(mirror, record)
    mirror.write_bytes(mirror.read_bytes() + mirror.read_bytes()[:20])
    append_record(mirror, record)
    assert read_records(mirror) == ([record, record], [2])
    assert read_records(tmp_path / "absent.jsonl") == ([], [])


def test_a_promotion_that_died_after_the_move_is_finished_by_the_next(
    store: str, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = open_tracking(store)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    tracking.set_alias("candidate", "aaa")

    def killed(self: object, run_id: str, release_id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(tracking), "_conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            tracking.promote("aaa", expected=None, why="first", who="ann")
    assert [record.finished for record in tracking.history()] == [False]

    tracking.promote("aaa", expected=None, why="again", who="ann")
    assert [(record.finished, record.why) for record in tracking.history()] == [(True, "first")]
    assert tracking.aliases("aaa") == ["champion"]


def _promote(store: str, release_id: str, results: "multiprocessing.Queue[str]") -> None:
    try:
        open_tracking(store).promote(release_id, expected="aaa", why="race", who=release_id)
        results.put("won")
    except TrackingError as error:
        results.put(str(error))


def test_of_two_promoters_at_once_one_wins_and_one_is_refused(
    store: str, make_release: MakeRelease
) -> None:
    tracking = open_tracking(store)
    for release_id in ("aaa", "bbb", "ccc"):
        tracking.register(
            release_id=release_id, release_dir=make_release(release_id), run_id=None, tags={}
        )
    tracking.promote("aaa", expected=None, why="first", who="ann")
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    promoters = [
        context.Process(target=_promote, args=(store, release_id, results))
        for release_id in ("bbb", "ccc")
    ]
    for promoter in promoters:
        promoter.start()
    answers = sorted((results.get(timeout=60), results.get(timeout=60)), key=len)
    for promoter in promoters:
        promoter.join()
    assert answers[0] == "won"
    assert "but aaa was expected" in answers[1]
    assert tracking.resolve("previous") == "aaa"
    assert len(tracking.history()) == 2


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_is_down_is_reported_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"opening the store.*MLFLOW_TRACKING_URI"):
        open_tracking("http://127.0.0.1:9")
    assert time.monotonic() - start < 20


def test_a_server_that_never_answers_is_given_up_soon(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the default takes 16 s
    start = time.monotonic()
    with pytest.raises(TrackingError, match="opening the store") as caught:
        open_tracking(silent_server)
    assert time.monotonic() - start < 5
    assert "secret" not in str(caught.value)


def test_the_default_patience_is_under_20_s(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmr.tracking.connection import import_mlflow

    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    import_mlflow()
    attempts = 1 + int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    assert attempts * int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 16


def test_stores_that_cannot_work_are_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"sqlite:///FILE"):
        open_tracking(str(tmp_path / "mlruns"))
    with pytest.raises(TrackingError, match=r"postgresql\+psycopg2"):
        open_tracking("postgresql://user:secret@localhost/mlflow")
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, it only looks long enough" * 100)
    with pytest.raises(TrackingError, match=r"cannot be opened: file is not a database"):
        open_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_held_lock_is_waited_for_and_then_named(
    store: str, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.tracking import connection

    tracking = open_tracking(store)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    monkeypatch.setattr(connection, "LOCK_TIMEOUT_S", 0.2)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.store_lock(store):
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    try:
        with pytest.raises(TrackingError, match=r"mlflow\.db\.lock.*Wait for it"):
            tracking.promote("aaa", expected=None, why="", who="")
    finally:
        release.set()
        holder.join()
    assert tracking.resolve("champion") is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:secret@host:5000",
        "http://user:s@secret@host",
        "postgresql+psycopg2://user:secret@host/mlflow",
        "postgresql+psycopg2://host/mlflow?user=me&password=secret",
        "http://:secret@host",
    ],
)
def test_a_password_in_an_address_is_never_shown_nor_written_down(uri: str) -> None:
    assert "secret" not in without_password(uri)
    assert "secret" not in without_password(f"cannot reach {uri}/api: refused")
    with pytest.raises(ConfigError, match="holds a password") as caught:
        check_recordable(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000",
        "https://mlflow.example.com/at/home@work",
        "postgresql+psycopg2://mlflow@host:5432/mlflow",
        "sqlite:////home/a:b@c/mlflow.db",
    ],
)
def test_an_address_without_a_password_may_be_written_down(uri: str) -> None:
    check_recordable(uri)
