"""Fifty times two promoters at once: one wins, the other is refused, one record tells of it."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmr.errors import TrackingError
from mmr.tracking import InMemoryTracking
from mmr.tracking.protocols import CHAMPION
from mmr.workspace import Workspace
from tests.faults import injector
from tests.faults.conftest import Shop

ROUNDS = 50
REFEREE = "referee"


def compete(
    registry: Any, release_id: str, common: str, *, clears: bool, barrier: Any, told: Any
) -> None:
    """Promotes a release against the common champion in every round, at the same moment as a rival.

    Args:
        registry: Where.
        release_id: This promoter's release.
        common: The champion before every round.
        clears: Whether this promoter makes it champion again after every round.
        barrier: Shared by both promoters.
        told: Receives (round, release, "won" or the refusal).
    """
    for number in range(ROUNDS):
        barrier.wait(60)
        try:
            registry.promote(release_id, expected=common, why=str(number), who=release_id)
            told.put((number, release_id, "won"))
        except TrackingError as error:
            told.put((number, release_id, str(error)))
        barrier.wait(60)
        if clears:
            champion = registry.resolve(CHAMPION)
            registry.promote(common, expected=champion, why="between", who=REFEREE)


def check(registry: Any, told: list[tuple[int, str, str]], *, common: str) -> None:
    """One winner a round, one refusal, one record."""
    rounds = [[answer for number, _, answer in told if number == n] for n in range(ROUNDS)]
    assert [sum(answer == "won" for answer in answers) for answers in rounds] == [1] * ROUNDS
    refusals = [answer for _, _, answer in told if answer != "won"]
    assert len(refusals) == ROUNDS
    assert all(f"but {common} was expected" in answer for answer in refusals)
    records = [record for record in registry.history() if record.why.isdigit()]
    winners = sorted((str(number), release) for number, release, won in told if won == "won")
    assert sorted((record.why, record.release_id) for record in records) == winners
    assert all(record.finished for record in registry.history())


def race(
    context: Any, run: Callable[..., Any], registry: Any, releases: tuple[str, str, str]
) -> None:
    """Lets two promoters run and checks what they and the registry tell."""
    common, *promoted = releases
    barrier, told = context.Barrier(2), context.Queue()
    promoters = [
        run(release_id, common, clears=release_id == promoted[0], barrier=barrier, told=told)
        for release_id in promoted
    ]
    for promoter in promoters:
        promoter.start()
    answers = [told.get(timeout=240) for _ in range(2 * ROUNDS)]
    for promoter in promoters:
        promoter.join()
    check(registry, answers, common=common)


class _Threads:
    """What `race` needs of multiprocessing, for threads."""

    Barrier, Queue = threading.Barrier, queue.Queue


def test_threads_on_the_registry_in_memory(tmp_path: Path) -> None:
    registry = InMemoryTracking()
    releases = ("common", "first", "second")
    for release_id in releases:
        registry.register(release_id=release_id, release_dir=tmp_path, run_id=None, tags={})
    registry.promote("common", expected=None, why="start", who=REFEREE)

    def run(*arguments: str, **more: Any) -> threading.Thread:
        return threading.Thread(target=compete, args=(registry, *arguments), kwargs=more)

    race(_Threads, run, registry, releases)


def test_processes_on_one_store(served_shop: Shop, copy_of: Callable[[Path], Path]) -> None:
    """Each promoter is a process; the store is MLflow on SQLite, the lock a file."""
    shop = copy_of(served_shop.place) / "shop"
    outcome = injector.run(race_on_a_store, shop, served_shop.old, root=shop)

    assert outcome.error is None


def race_on_a_store(shop: Path, template: str) -> None:
    """For `injector.run`: MLflow is imported there already."""
    from mmr.tracking import open_tracking

    uri = Workspace.open(shop).tracking_uri
    registry = open_tracking(uri)
    releases = ("common", "first", "second")
    for release_id in releases:
        registry.register(
            release_id=release_id,
            release_dir=shop / "releases" / template,
            run_id=None,
            tags={},
        )
    registry.promote("common", expected=registry.resolve(CHAMPION), why="start", who=REFEREE)
    context = multiprocessing.get_context("fork")

    def run(*arguments: str, **more: Any) -> Any:
        return context.Process(target=compete_in, args=(uri, *arguments), kwargs=more)

    race(context, run, registry, releases)


def compete_in(uri: str, *arguments: str, **more: Any) -> None:
    """A promoter that opens the store itself."""
    from mmr.tracking import open_tracking

    compete(open_tracking(uri), *arguments, **more)
