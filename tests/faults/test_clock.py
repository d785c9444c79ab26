"""The clock is set back between two promotions: the order of the record is that of the moves."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.tracking import open_tracking
from mmr.workspace import Workspace
from serving.doctor.agreement import Agreement, check_agreement
from serving.doctor.finding import Level
from serving.settings import ServeSettings
from tests.faults.conftest import Shop

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

HOUR_S = 3600


def test_history_keeps_the_order_of_the_moves(
    served_shop: Shop, copy_of: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(copy_of(served_shop.place) / "shop")
    registry = open_tracking(workspace.tracking_uri)
    real = time.time
    champion = served_shop.old
    for number, release_id in enumerate((served_shop.new, served_shop.old, served_shop.new), 1):
        monkeypatch.setattr(time, "time", lambda back=number: real() - back * HOUR_S)
        registry.promote(release_id, expected=champion, why=str(number), who="ann")
        champion = release_id

    assert [record.why for record in registry.history()] == ["3", "2", "1", "deployed"]
    agreement = Agreement(workspace, registry, ServeSettings(), None)
    wrong = [f.what for f in check_agreement(agreement) if f.level is not Level.OK]
    assert not any("previous" in what for what in wrong)


def test_a_promotion_cut_short_is_finished_although_an_older_one_has_a_later_time(
    served_shop: Shop, copy_of: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(copy_of(served_shop.place) / "shop")
    registry = open_tracking(workspace.tracking_uri)
    registry.promote(served_shop.new, expected=served_shop.old, why="1", who="ann")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - HOUR_S)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(registry), "_conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(served_shop.old, expected=served_shop.new, why="2", who="ann")
    assert registry.history()[0].finished is False

    registry.promote(served_shop.old, expected=served_shop.old, why="again", who="ann")

    assert [record.finished for record in registry.history()] == [True] * 3
