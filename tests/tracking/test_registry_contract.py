"""What every registry promises: run on the one in memory and on real MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import pytest

from mmr.errors import ConfigError, TrackingError
from mmr.tracking import InMemoryTracking

if TYPE_CHECKING:
    from mmr.tracking.mlflow_tracking import MlflowTracking

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

Tracking: TypeAlias = Union[InMemoryTracking, "MlflowTracking"]
MakeRelease = Callable[[str], Path]


@pytest.fixture
def registered(tracking: Tracking, make_release: MakeRelease) -> Tracking:
    for number, release_id in enumerate(("aaa", "bbb", "ccc"), start=1):
        version = tracking.register(
            release_id=release_id,
            release_dir=make_release(release_id),
            run_id=None,
            tags={"gate_decision": "promote"},
        )
        assert version == number
    return tracking


def test_an_empty_registry_has_nothing(tracking: Tracking) -> None:
    assert tracking.resolve("champion") is None
    assert tracking.releases() == []
    assert tracking.history() == []
    assert tracking.aliases("aaa") == []


def test_registering_again_changes_nothing(registered: Tracking, tmp_path: Path) -> None:
    again = registered.register(
        release_id="bbb", release_dir=tmp_path / "releases" / "bbb", run_id=None, tags={}
    )
    assert again == 2
    assert [release.version for release in registered.releases()] == [3, 2, 1]


def test_releases_carry_their_lineage(registered: Tracking, tmp_path: Path) -> None:
    registered.set_alias("candidate", "ccc")
    newest = registered.releases()[0]
    assert (newest.release_id, newest.version, newest.aliases) == ("ccc", 3, ("candidate",))
    assert newest.tags["gate_decision"] == "promote"
    assert newest.tags["release_dir"] == str(tmp_path / "releases" / "ccc")


def test_a_promotion_moves_the_aliases_and_is_on_record(registered: Tracking) -> None:
    registered.set_alias("candidate", "bbb")
    registered.promote("aaa", expected=None, why="first", who="ann")
    record = registered.promote("bbb", expected="aaa", why="better", who="ben")

    assert registered.resolve("champion") == "bbb"
    assert registered.resolve("previous") == "aaa"
    assert registered.resolve("candidate") is None
    assert registered.aliases("bbb") == ["champion"]
    assert (record.release_id, record.replaced, record.finished) == ("bbb", "aaa", True)
    newest, oldest = registered.history()
    assert newest == record == registered.latest()
    assert (oldest.action, oldest.replaced, oldest.why, oldest.who) == (
        "promote",
        None,
        "first",
        "ann",
    )


def test_before_the_first_promotion_there_is_no_newest_record(registered: Tracking) -> None:
    assert registered.latest() is None


def test_a_rollback_is_a_promotion_by_another_name(registered: Tracking) -> None:
    registered.promote("aaa", expected=None, why="first", who="ann")
    registered.promote("bbb", expected="aaa", why="better", who="ben")
    registered.promote("aaa", expected="bbb", why="worse", who="ann", action="rollback")
    assert (registered.resolve("champion"), registered.resolve("previous")) == ("aaa", "bbb")
    assert registered.history()[0].action == "rollback"


@pytest.mark.parametrize("expected", [None, "ccc"])
def test_a_promotion_with_an_outdated_view_is_refused(
    expected: str | None, registered: Tracking
) -> None:
    registered.promote("aaa", expected=None, why="first", who="ann")
    with pytest.raises(TrackingError, match=f"champion is aaa, but {expected or 'none'} was"):
        registered.promote("bbb", expected=expected, why="late", who="ben")
    assert registered.resolve("champion") == "aaa"
    assert len(registered.history()) == 1


def test_promoting_the_champion_again_changes_nothing(registered: Tracking) -> None:
    registered.promote("aaa", expected=None, why="first", who="ann")
    registered.promote("bbb", expected="aaa", why="better", who="ben")
    registered.promote("bbb", expected="aaa", why="again", who="ben")
    assert registered.resolve("previous") == "aaa"
    assert len(registered.history()) == 2


def test_unknown_releases_get_no_alias(registered: Tracking) -> None:
    with pytest.raises(TrackingError, match="zzz is not registered"):
        registered.set_alias("candidate", "zzz")
    with pytest.raises(TrackingError, match="zzz is not registered"):
        registered.promote("zzz", expected=None, why="", who="")
    assert registered.resolve("candidate") is None


def test_the_champion_moves_by_promotion_alone(registered: Tracking) -> None:
    with pytest.raises(ConfigError, match="by promotion alone"):
        registered.set_alias("champion", "aaa")
    assert registered.resolve("champion") is None


def test_a_deleted_release_is_tagged_and_gets_no_alias(registered: Tracking) -> None:
    registered.mark_deleted("bbb")
    assert [release.deleted for release in registered.releases()] == [False, True, False]
    with pytest.raises(TrackingError, match="bbb was deleted at 20"):
        registered.promote("bbb", expected=None, why="", who="")
    with pytest.raises(TrackingError, match="bbb was deleted at 20"):
        registered.set_alias("candidate", "bbb")
    assert (registered.resolve("champion"), registered.history()) == (None, [])


@pytest.mark.parametrize("alias", ["champion", "previous", "candidate"])
def test_a_release_that_an_alias_names_is_not_deleted(alias: str, registered: Tracking) -> None:
    registered.promote("aaa", expected=None, why="first", who="ann")
    registered.promote("bbb", expected="aaa", why="better", who="ann")
    registered.set_alias("candidate", "ccc")
    named = registered.resolve(alias)
    assert named is not None
    with pytest.raises(TrackingError, match=f"{named} may not be deleted: it is {alias}"):
        registered.mark_deleted(named)
    assert not any(release.deleted for release in registered.releases())


def test_a_deleted_release_can_be_registered_again(registered: Tracking, tmp_path: Path) -> None:
    registered.mark_deleted("bbb")
    again = registered.register(
        release_id="bbb", release_dir=tmp_path / "releases" / "bbb", run_id=None, tags={}
    )
    assert again == 2
    assert registered.promote("bbb", expected=None, why="", who="").release_id == "bbb"


def test_only_registered_releases_are_deleted(registered: Tracking) -> None:
    with pytest.raises(TrackingError, match="zzz is not registered"):
        registered.mark_deleted("zzz")
