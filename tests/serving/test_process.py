import contextlib
import dataclasses
import os
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


@pytest.mark.parametrize("workspace", ["mine", "other"])
@pytest.mark.parametrize("server_lives", [False, True])
def test_model_processes_of_this_workspace_whose_server_is_gone_are_ended_and_no_others(
    workspace: str, server_lives: bool, tmp_path: Path
) -> None:
    stub = tmp_path / workspace / "stub"
    stub.parent.mkdir()
    shutil.copy(shutil.which("sleep") or "", stub)
    server = subprocess.Popen(
        ["sh", "-c", f"{stub} 60 & echo $!; {'wait' if server_lives else 'exit'}"],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    while Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] != str(stub).encode():
        time.sleep(0.01)  # it is still the shell
    if not server_lives:
        server.wait()
    try:
        end_orphans(tmp_path / "mine" / "stub")
        deadline = time.monotonic() + (0.3 if server_lives or workspace == "other" else 5)
        while start_ticks(pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (start_ticks(pid) is None) == (workspace == "mine" and not server_lives)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.stdout.close()
        server.wait()
