"""Shops to be broken: made once, copied for every fault."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import injector, shop


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


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a place for one fault."""
    made = 0

    def copy(place: Path) -> Path:
        nonlocal made
        made += 1
        return Path(shutil.copytree(place, tmp_path / f"copy-{made}"))

    return copy
