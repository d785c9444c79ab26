"""A promotion or rollback cut short between two calls of the tracking store is taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mmr.tracking import open_tracking
from mmr.workspace import Workspace
from serving.rollback import rollback_target
from tests.faults.conftest import Shop

if TYPE_CHECKING:
    from mmr.tracking.mlflow_tracking import MlflowTracking

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def registry(served_shop: Shop, copy_of: Callable[[Path], Path]) -> MlflowTracking:
    return open_tracking(Workspace.open(copy_of(served_shop.place) / "shop").tracking_uri)


@pytest.fixture
def cut_short(
    registry: MlflowTracking, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, str], None]:
    """Promotes, and dies just before the alias champion moves."""

    def promote(release_id: str, expected: str, action: str) -> None:
        point = registry._versions.point

        def die(alias: str, named: str) -> None:
            if alias == "champion":
                raise KeyboardInterrupt
            point(alias, named)

        with monkeypatch.context() as patch:
            patch.setattr(registry._versions, "point", die)
            with pytest.raises(KeyboardInterrupt):
                registry.promote(release_id, expected=expected, why="", who="", action=action)

    return promote


def test_a_promotion_run_again_finishes_its_record_and_opens_no_other(
    registry: MlflowTracking, cut_short: Callable[..., None], served_shop: Shop
) -> None:
    cut_short(served_shop.new, served_shop.old, "promote")
    assert [record.finished for record in registry.history()] == [False, True]

    registry.promote(served_shop.new, expected=served_shop.old, why="again", who="")

    assert [record.finished for record in registry.history()] == [True, True]
    assert registry.resolve("champion") == served_shop.new


def test_a_rollback_run_again_goes_where_it_was_going(
    registry: MlflowTracking, cut_short: Callable[..., None], served_shop: Shop
) -> None:
    registry.promote(served_shop.new, expected=served_shop.old, why="", who="")
    cut_short(served_shop.old, served_shop.new, "rollback")
    assert registry.resolve("previous") == served_shop.new  # moved before the champion did

    assert rollback_target(registry) == served_shop.old


def test_a_champion_set_by_another_tool_gets_a_record_when_it_is_promoted(
    registry: MlflowTracking, served_shop: Shop
) -> None:
    registry._versions.point("champion", served_shop.new)

    record = registry.promote(served_shop.new, expected=None, why="as it is", who="ann")

    assert (record.release_id, record.why, record.finished) == (served_shop.new, "as it is", True)
    assert registry.history()[0] == record
