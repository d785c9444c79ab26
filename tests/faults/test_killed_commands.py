"""deploy, promote and rollback, killed with -9 before every one of their writes.

Whatever the moment: what serves is one whole release, the old or the new one; where the registry
disagrees with it, the doctor says so and mends it; and the same command, run again, finishes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults import injector, shop
from tests.faults.conftest import Shop
from tests.faults.injector import Fault
from tests.faults.writes import boundaries

CopyOf = Callable[[Path], Path]
AT_ONCE = 2  # processes; each mostly waits for the disk or imports


def agreed(state: dict[str, Any]) -> set[str]:
    """The releases that registry, record and (where it runs) server name: one if all is well."""
    answers = state["answers"] if any(state["answers"]) else []
    return {state["champion"], state["active"], *answers}


def violations(
    place: Path, again: Path, command: tuple[str, ...], made: Shop, want: str
) -> list[str]:
    """What does not hold after a kill.

    Args:
        place: What the kill left; the doctor mends it.
        again: A copy, in which the command is run again.
        command: The command that was killed.
        made: The names of the releases.
        want: The release that the command puts into production.
    """
    found = []
    healed = injector.run(shop.heal, place, root=place).value
    before, after = healed["before"], healed["after"]
    if not agreed(before) <= {made.old, made.new}:
        found.append(f"neither the old nor the new release: {before}")
    if before["on_disk"] != before["active"]:
        found.append(f"what a restarted server would load is not whole: {before}")
    if len(agreed(before)) > 1 and not before["wrong"]:
        found.append(f"the doctor does not see the difference: {before}")
    if len(agreed(after)) > 1:
        found.append(f"the doctor does not mend the difference: {healed}")
    if any("they must" in what or "cut short" in what for what in after["wrong"]):
        found.append(f"the doctor leaves something wrong: {healed}")
    done = before["champion"] == want and before["history"][0]["finished"]
    if done and command[0] == "rollback":
        return found  # it is on record; another rollback would be a rollback of it
    rerun = injector.run(shop.command_and_look, again, *command, root=again)
    if rerun.error:
        return [*found, f"run again, it fails: {rerun.error}"]
    wrong = [what for what in rerun.value["wrong"] if "audit.jsonl lacks 1" not in what]
    if agreed(rerun.value) != {want} or wrong:
        found.append(f"run again, it does not finish: {rerun.value}")
    if not all(record["finished"] for record in rerun.value["history"]):
        found.append(f"run again, a record stays open: {rerun.value}")
    return found


def stop_server(place: Path) -> None:
    """Triton ends, with its memory."""
    (place / "shop" / "serving" / "triton.json").unlink()
    (place / "triton-memory.json").unlink()


def break_at_every_write(
    original: Path, copy_of: CopyOf, command: tuple[str, ...], made: Shop, want: str
) -> None:
    whole = injector.run(shop.command, place := copy_of(original), *command, root=place / "shop")
    assert whole.error is None
    points = list(boundaries(whole.writes))
    assert len(points) > 4

    def kill(at: int) -> list[str]:
        place = copy_of(original)
        outcome = injector.run(
            shop.command, place, *command, root=place / "shop", fault=Fault.KILL, at=at
        )
        assert outcome.killed
        return violations(place, copy_of(place), command, made, want)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(points, pool.map(kill, points), strict=True))
    broken = {f"killed before write {at}, {whole.writes[at]}": f for at, f in found.items() if f}
    assert not broken, json.dumps(broken, indent=1)


@pytest.mark.timeout(600)
def test_promote_without_a_server(served_shop: Shop, copy_of: CopyOf) -> None:
    place = copy_of(served_shop.place)
    for release in (served_shop.new, served_shop.old):  # the new one is verified, and kept
        assert injector.run(shop.command, place, "deploy", release, root=place).error is None
    stop_server(place)
    command = ("promote", served_shop.new, "--expect", "champion", "--why", "better")
    break_at_every_write(place, copy_of, command, served_shop, served_shop.new)


@pytest.mark.timeout(600)
def test_deploy(served_shop: Shop, copy_of: CopyOf) -> None:
    command = ("deploy", served_shop.new)
    break_at_every_write(served_shop.place, copy_of, command, served_shop, served_shop.new)


@pytest.mark.timeout(600)
def test_rollback(served_shop: Shop, copy_of: CopyOf) -> None:
    place = copy_of(served_shop.place)
    assert injector.run(shop.command, place, "deploy", served_shop.new, root=place).error is None
    break_at_every_write(place, copy_of, ("rollback",), served_shop, served_shop.old)


@pytest.mark.timeout(600)
def test_rollback_without_a_server(served_shop: Shop, copy_of: CopyOf) -> None:
    place = copy_of(served_shop.place)
    assert injector.run(shop.command, place, "deploy", served_shop.new, root=place).error is None
    stop_server(place)
    break_at_every_write(place, copy_of, ("rollback",), served_shop, served_shop.old)
