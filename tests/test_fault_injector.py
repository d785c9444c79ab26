"""The injector of `tests.faults`: what it says of a command is true."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.faults import injector


@pytest.mark.timeout(300)
def test_threads_that_run_commands_at_once_take_none_for_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that starts a process used to snatch the status of one that another waited for."""
    read, late = forkserver.read_signed, random.Random(7)

    def read_late(descriptor: int) -> int:
        time.sleep(late.uniform(0.0, 0.2))
        status: int = read(descriptor)
        return status

    monkeypatch.setattr(forkserver, "read_signed", read_late)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: injector.run(os.getpid, root=tmp_path), range(24)))

    assert len({outcome.value for outcome in outcomes}) == 24


def test_a_command_that_crashes_is_told_with_its_status_and_its_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"crashed, status 1: (?s:.*)ZeroDivisionError"):
        injector.run(_divide, root=tmp_path)


def _divide() -> float:
    return 1 / 0
