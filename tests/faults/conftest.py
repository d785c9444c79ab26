"""Shops to be broken: made once, copied for every fault."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmr.config.run import RunSettings
from tests.faults import injector, shop
from tests.faults.chain import RUN, Killed, kill_in_every_step


@dataclass(frozen=True)
class Shop:
    """A shop of which every fault breaks a copy.

    Attributes:
        place: The untouched original.
        old: The release that serves and is champion.
        new: The release that is registered besides.
    """

    place: Path
    old: str
    new: str


@pytest.fixture(scope="session")
def triton_process() -> Iterator[int]:
    """A process that counts as the running Triton; nothing ever talks to it."""
    with subprocess.Popen(["sleep", "3600"], start_new_session=True) as process:
        yield process.pid
        process.kill()


@pytest.fixture(scope="session")
def served_shop(tmp_path_factory: pytest.TempPathFactory, triton_process: int) -> Shop:
    """Its server runs and answers with the old release."""
    place = tmp_path_factory.mktemp("served")
    made = injector.run(shop.open_shop, place, triton_process, root=place)
    assert made.error is None
    return Shop(place, **made.value)


@dataclass(frozen=True)
class TrainedShop:
    """A shop with a real release: trained, proven, registered and deployed by `mmr run`.

    Attributes:
        place: Holds the workspace `shop`; not to be changed.
        arguments: The `mmr run` that made it.
        killed: What the kills on the way saw.
    """

    place: Path
    arguments: tuple[str, ...]
    killed: Killed

    @property
    def release(self) -> Path:
        """The release that serves."""
        return self.place / "shop" / "releases" / str(self.killed.look["champion"])


@pytest.fixture(scope="session")
def trained_shop(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    triton_process: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainedShop:
    """Made by a run that was killed in every step; its gate promotes whatever it finds."""
    place = tmp_path_factory.mktemp("trained")
    record = json.loads(tiny_settings.model_dump_json())
    record["gate"] |= {"latency_queries": 5, "resamples": 99}
    (place / "settings.yaml").write_text(json.dumps(record), encoding="utf-8")
    assert injector.run(shop.open_empty_shop, place, triton_process, root=place).error is None
    arguments = ("run", str(tiny_dataset), "--preset", str(place / "settings.yaml"))
    return TrainedShop(place, arguments, kill_in_every_step(place, RUN, arguments))


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a place for one fault."""
    numbers = itertools.count(1)  # one at a time, also for threads

    def copy(place: Path) -> Path:
        return Path(shutil.copytree(place, tmp_path / f"copy-{next(numbers)}"))

    return copy
