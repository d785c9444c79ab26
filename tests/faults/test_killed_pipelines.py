"""`mmr run` and `mmr refresh`, killed with -9 at every step boundary and inside every step.

Until a release is deployed nothing that serves may change; from then on it is the old release or
the new one, whole, and the doctor names every difference. In the end the command finishes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.release.bundle import Release
from tests.faults.chain import PATIENCE_S, REFRESH, RELEASE, RUN, Killed, kill_in_every_step
from tests.faults.conftest import TrainedShop
from tests.stages.refreshed_shop import NEW, Feed


def check(killed: Killed, steps: tuple[str, ...], *, old: str | None) -> str:
    """What must hold after each kill, and in the end; returns the release that serves then."""
    assert not [kill["write"] for kill in killed.seen if "was not killed" in kill["write"]]
    ends = [kill["step"] for kill in killed.seen if kill["write"] == f"end {kill['step']}"]
    assert ends == list(steps)
    before = [kill["served"] for kill in killed.seen if kill["step"] not in RELEASE]
    assert all(served == before[0] for served in before)
    check_end(killed, old=old)
    new = str(killed.look["champion"])
    for state in (kill["look"] for kill in killed.seen if kill["look"]):
        named = {state["champion"], state["active"], *state["answers"]}
        assert named <= {old, new, None}, state
        assert state["on_disk"] == state["active"], state
        assert len(named) == 1 or state["wrong"], state
    return new


def check_end(killed: Killed, *, old: str | None) -> None:
    """The command, run again, finished the work: a new release serves and is champion."""
    assert killed.error is None
    look = killed.look
    new = look["champion"]
    assert new != old
    assert {new} == {look["active"], look["on_disk"], *look["answers"]}
    assert look["wrong"] == []
    assert all(record["finished"] for record in look["history"])
    assert [record["release_id"] for record in look["history"]] == [new, *([old] if old else [])]


@pytest.mark.timeout(PATIENCE_S)
def test_run(trained_shop: TrainedShop) -> None:
    release_id = check(trained_shop.killed, RUN, old=None)

    Release.open(trained_shop.release, verify="hashes")
    assert trained_shop.release.name == release_id


@pytest.mark.timeout(PATIENCE_S)
def test_refresh(
    trained_shop: TrainedShop, tiny_dataset: Path, copy_of: Callable[[Path], Path]
) -> None:
    place = copy_of(trained_shop.place)
    feed = Feed(added=(NEW,)).write(tiny_dataset, place / "feed")
    old = trained_shop.release.name

    killed = kill_in_every_step(place, REFRESH, ("refresh", str(feed)))

    new = Release.open(place / "shop/releases" / check(killed, REFRESH, old=old), verify="hashes")
    assert new.manifest.parent_release == old
