"""The quick look at the aliases agrees with MLflow, and gives way to it where it cannot look."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.errors import TrackingError
from mmr.tracking import CANDIDATE, CHAMPION, PREVIOUS, InMemoryTracking, open_tracking
from mmr.tracking.deferred import DeferredTracking, peek_aliases, peek_latest

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

MakeRelease = Callable[[str], Path]


def test_aliases_are_those_that_mlflow_names(store: str, make_release: MakeRelease) -> None:
    mlflow = open_tracking(store)
    for release in ("first", "second", "third"):
        mlflow.register(release_id=release, release_dir=make_release(release), run_id=None, tags={})
    assert peek_aliases(store) == {}
    mlflow.promote("first", expected=None, why="", who="")
    mlflow.promote("second", expected="first", why="", who="")
    mlflow.set_alias(CANDIDATE, "third")

    deferred = DeferredTracking(store)
    for alias in (CHAMPION, PREVIOUS, CANDIDATE, "nobody"):
        assert deferred.resolve(alias) == mlflow.resolve(alias)


def test_newest_record_is_that_of_mlflow_open_or_finished(
    store: str, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = open_tracking(store)
    for release in ("first", "second"):
        mlflow.register(release_id=release, release_dir=make_release(release), run_id=None, tags={})
    assert peek_latest(store) is None
    mlflow.promote("first", expected=None, why="it’s new", who="ann")
    assert peek_latest(store) == mlflow.latest()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow._versions, "point", die)
    with pytest.raises(KeyboardInterrupt):
        mlflow.promote("second", expected="first", why="", who="", action="rollback")

    open_one = peek_latest(store)
    assert open_one == mlflow.latest() == DeferredTracking(store).latest()
    assert open_one is not None
    assert (open_one.release_id, open_one.action, open_one.finished) == (
        "second",
        "rollback",
        False,
    )


def test_promotion_still_asks_mlflow_and_is_refused_when_the_champion_moved(
    store: str, make_release: MakeRelease
) -> None:
    mlflow = open_tracking(store)
    for release in ("first", "second", "third"):
        mlflow.register(release_id=release, release_dir=make_release(release), run_id=None, tags={})
    mlflow.promote("first", expected=None, why="", who="")
    deferred = DeferredTracking(store)
    seen = deferred.resolve(CHAMPION)
    mlflow.promote("second", expected="first", why="faster", who="")

    with pytest.raises(TrackingError, match="was not promoted"):
        deferred.promote("third", expected=seen, why="", who="", action="rollback")

    assert deferred.resolve(CHAMPION) == "second"
    assert [record.release_id for record in deferred.history()] == ["second", "first"]


@pytest.mark.parametrize("kind", ["server", "absent", "no database", "other tables"])
def test_store_that_cannot_be_looked_into_is_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.db"
    if kind == "no database":
        path.write_text("no database")
    elif kind == "other tables":
        path.touch()
    uri = "http://127.0.0.1:1" if kind == "server" else f"sqlite:///{path}"
    opened = InMemoryTracking()
    opened.register(release_id="first", release_dir=tmp_path, run_id=None, tags={})
    opened.promote("first", expected=None, why="", who="")
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, audit_file: opened)

    assert peek_aliases(uri) is None
    assert DeferredTracking(uri).resolve(CHAMPION) == "first"


def test_look_imports_no_mlflow(store: str) -> None:
    code = (
        "import sys; from mmr.tracking.deferred import DeferredTracking; "
        f"print(DeferredTracking({store!r}).resolve('champion'), 'mlflow' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ["None", "False"]
