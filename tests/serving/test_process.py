import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmr.errors import ServingError
from serving.process import RunningServer, ServerRecord, end_orphans, start_ticks, stop

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"


@pytest.fixture
def stubborn() -> Iterator[RunningServer]:
    """A process that ignores SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{_STUBBORN}; time.sleep(60)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        ticks = start_ticks(process.pid)
        assert ticks is not None
        yield RunningServer(process.pid, ticks, "127.0.0.1", 1, 2, 3)
        process.kill()


def test_server_that_ignores_the_request_to_end_is_killed(stubborn: RunningServer) -> None:
    began = time.monotonic()

    stop(stubborn, grace_s=0.3)

    assert not stubborn.is_alive()
    assert time.monotonic() - began < 3


def test_pid_that_now_belongs_to_another_process_is_left_alone(
    stubborn: RunningServer, tmp_path: Path
) -> None:
    stranger = dataclasses.replace(stubborn, started_ticks=stubborn.started_ticks - 1)
    record = ServerRecord(tmp_path)
    record.write(stranger)

    assert record.running() is None
    stop(stranger, grace_s=0)
    assert stubborn.is_alive()


def test_record_round_trips_and_a_damaged_one_is_named(
    stubborn: RunningServer, tmp_path: Path
) -> None:
    record = ServerRecord(tmp_path)
    record.write(stubborn)
    assert record.running() == stubborn

    (tmp_path / "triton.json").write_text('{"pid": 1}')
    with pytest.raises(ServingError, match=r"triton\.json is damaged"):
        record.running()


def test_processes_that_outlived_their_server_are_ended_and_no_others(tmp_path: Path) -> None:
    stubs = [tmp_path / workspace / "stub" for workspace in ("mine", "other")]
    for stub in stubs:
        stub.parent.mkdir()
        shutil.copy(shutil.which("sleep") or "", stub)
    mine, other = (subprocess.Popen([str(stub), "60"]) for stub in stubs)
    try:
        end_orphans(stubs[0])
        assert mine.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
