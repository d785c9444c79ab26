"""Promoters on different machines: they share a tracking store and nothing else."""

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mmr.errors import TrackingError
from mmr.tracking import open_tracking
from mmr.tracking.connection import import_mlflow

if TYPE_CHECKING:
    from mmr.tracking.remote_lock import RemoteLock

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

ROUNDS = 6
MakeRelease = Callable[[str], Path]
NewLock = Callable[[str], "RemoteLock"]


def _machine(name: str, uri: str, directory: str, barrier: Any, results: Any) -> None:
    """One machine: its own directory for temporary files, so its own file locks."""
    tempfile.tempdir = directory
    import_mlflow()
    from mmr.tracking import remote_lock

    remote_lock.LOCK_TIMEOUT_S, remote_lock.LEASE_S = 100, 600  # a machine may be a slow one
    tracking = open_tracking(uri, audit_file=Path(directory) / "audit.jsonl")
    for number in range(ROUNDS):
        mine = f"{name}{number % 2}"
        champion = tracking.resolve("champion")
        barrier.wait(120)
        try:
            tracking.promote(mine, expected=champion, why=f"round {number}", who=name)
            results.put((number, mine, None))
        except TrackingError as error:
            results.put((number, mine, str(error)))
        barrier.wait(120)


@pytest.mark.timeout(600)
def test_of_promoters_on_two_machines_one_wins_each_round_and_one_is_refused(
    mlflow_server: str,
    make_release: MakeRelease,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be a slow one
    tracking = open_tracking(mlflow_server)
    for release_id in ("a0", "a1", "b0", "b1", "z"):
        tracking.register(
            release_id=release_id, release_dir=make_release(release_id), run_id=None, tags={}
        )
    tracking.promote("z", expected=None, why="first", who="ann")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    machines = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        place = (name, mlflow_server, str(tmp_path / name), barrier, results)
        machines.append(context.Process(target=_machine, args=place))
    for machine in machines:
        machine.start()
    answers = [results.get(timeout=300) for _ in range(2 * ROUNDS)]
    for machine in machines:
        machine.join()

    champion, winners = "z", []
    for number in range(ROUNDS):
        (winner,) = (mine for n, mine, refusal in answers if n == number and refusal is None)
        (refusal,) = (said for n, _, said in answers if n == number and said is not None)
        assert f"the champion is {winner}, but {champion} was expected" in refusal
        champion = winner
        winners.append(winner)
    assert tracking.resolve("champion") == champion
    history = [record for record in tracking.history() if record.why != "first"]
    assert [record.release_id for record in reversed(history)] == winners
    assert all(record.finished for record in history)
    assert tracking.resolve("previous") == history[0].replaced
    lines = [
        len((tmp_path / name / "audit.jsonl").read_text().splitlines())
        for name in "ab"
        if (tmp_path / name / "audit.jsonl").exists()
    ]
    assert sum(lines) == ROUNDS  # each machine's mirror has its own moves; `mmr doctor` adds more


@pytest.fixture
def new_lock(store: str, tmp_path: Path) -> NewLock:
    """A lock as one machine sees it."""
    import_mlflow()
    from mlflow import MlflowClient

    from mmr.tracking.remote_lock import RemoteLock

    def make(machine: str) -> RemoteLock:
        return RemoteLock(MlflowClient(tracking_uri=store, registry_uri=store), tmp_path / machine)

    return make


def test_the_second_waits_until_the_first_is_done(new_lock: NewLock) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.wait(60)
        with new_lock("two").held():
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with new_lock("one").held():
        entered.set()
        time.sleep(1)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]


def test_a_dead_promoter_of_this_machine_stops_nobody(new_lock: NewLock) -> None:
    new_lock("one")._draw()
    begin = time.monotonic()
    with new_lock("one").held():
        assert time.monotonic() - begin < 10
    assert new_lock("one")._open() == []


def test_a_dead_promoter_of_another_machine_is_named_and_then_passed_over(
    new_lock: NewLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.tracking import remote_lock

    new_lock("other")._draw()
    monkeypatch.setattr(remote_lock, "LOCK_TIMEOUT_S", 0.3)
    with pytest.raises(TrackingError, match=r"on another machine has been going on for \d+ s"):
        new_lock("mine").held().__enter__()
    assert len(new_lock("mine")._open()) == 1  # the refused one left nothing behind

    monkeypatch.setattr(remote_lock, "LEASE_S", 0.1)
    with new_lock("mine").held():
        pass
    assert new_lock("mine")._open() == []


def test_a_promoter_whose_time_is_over_changes_nothing(
    store: str, new_lock: NewLock, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.tracking import remote_lock

    tracking = open_tracking(store)
    tracking.register(release_id="aaa", release_dir=make_release("aaa"), run_id=None, tags={})
    tracking._remote_lock = new_lock("one")
    monkeypatch.setattr(remote_lock, "LEASE_S", 0.0)
    with pytest.raises(TrackingError, match="nothing more was changed"):
        tracking.promote("aaa", expected=None, why="", who="")
    with pytest.raises(TrackingError, match="nothing more was changed"):
        tracking.mark_deleted("aaa")
    assert tracking.resolve("champion") is None
    assert tracking.history() == []
    assert not tracking.releases()[0].deleted


def test_the_lock_is_free_again_after_a_refusal(
    store: str, new_lock: NewLock, make_release: MakeRelease
) -> None:
    tracking = open_tracking(store)
    tracking._remote_lock = new_lock("one")
    with pytest.raises(TrackingError, match="zzz is not registered"):
        tracking.promote("zzz", expected=None, why="", who="")
    assert new_lock("two")._open() == []
