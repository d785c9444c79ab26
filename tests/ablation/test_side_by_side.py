"""Seeds climbed at once, in real processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmr.ablation import side_by_side
from mmr.ablation.climb import LadderRequest
from mmr.ablation.run import run_ladder
from mmr.config.run import RunSettings
from mmr.errors import ArtifactError, ConfigError, DataContractError
from tests.ablation.ladder_requests import request_of


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the seconds that trainings took."""
    plain: dict[str, Any] = json.loads(json.dumps(record))
    for rung in plain["rungs"]:
        for training in rung["training"]:
            for stage in training["stages"]:
                del stage["seconds"]
    return plain


def test_seeds_climbed_at_once_give_what_they_give_one_after_the_other(
    prepared: Path, settings: RunSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    request = request_of(prepared, settings, tmp_path / "one", seeds=2, only=("image",))
    threads = torch.get_num_threads()
    torch.set_num_threads(side_by_side._threads(2))  # as the processes have them
    try:
        _, expected = run_ladder(request, show=lambda line: None)
    finally:
        torch.set_num_threads(threads)
    capfd.readouterr()

    told: list[str] = []
    at_once = replace(request, workspace=tmp_path / "two", jobs=2)
    _, found = run_ladder(at_once, show=told.append)

    assert untimed(found) == untimed(expected)
    assert told == ["all seeds climbed; now they are compared"]
    processes = capfd.readouterr().err
    for seed in (7, 8):
        assert f"[2/2] + image, naive concat, seed {seed}: NDCG@10" in processes


def test_what_the_seeds_share_is_made_once(
    prepared: Path, settings: RunSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    request = request_of(
        prepared, settings, tmp_path / "workspace", seeds=3, jobs=3, only=("image",)
    )

    run_ladder(request, show=lambda line: None)

    told = capfd.readouterr().err
    assert told.count("decode images:") == 1
    assert told.count("finetune_vision;") == 3


def test_an_error_of_a_seed_is_told_and_raised_once_the_others_have_ended(
    prepared: Path, settings: RunSettings, tmp_path: Path
) -> None:
    request = request_of(prepared, settings, tmp_path / "workspace", jobs=2)
    missing, told = tmp_path / "no-dataset", list[str]()

    with pytest.raises(DataContractError, match="no-dataset"):
        side_by_side.climb_side_by_side(
            request, missing, cache=tmp_path / "cache", seeds=[7, 8], show=told.append
        )

    assert sorted(line.split(":")[0] for line in told) == [
        "seed 7 ended with an error, others go on",
        "seed 8 ended with an error, others go on",
    ]


def _note_threads(request: LadderRequest, path: Path, cache: Path, seed: int) -> None:
    (cache / f"threads-{seed}").write_text(str(torch.get_num_threads()))


def test_more_jobs_than_seeds_leave_no_core_idle(
    prepared: Path, settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_climb_seed", _note_threads)
    request = request_of(prepared, settings, tmp_path / "workspace", jobs=64)

    side_by_side.climb_side_by_side(
        request, prepared, cache=tmp_path, seeds=[7], show=lambda line: None
    )

    assert int((tmp_path / "threads-7").read_text()) == len(os.sched_getaffinity(0))


def _kill_itself(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_told_with_the_cure(
    prepared: Path, settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_climb_seed", _kill_itself)
    request = request_of(prepared, settings, tmp_path / "workspace", seeds=2, jobs=2)

    with pytest.raises(ArtifactError, match="fewer --jobs"):
        run_ladder(request, show=lambda line: None)

    assert not (tmp_path / "workspace" / "ablations").exists()


def _fail_or_sleep(request: LadderRequest, path: Path, cache: Path, seed: int) -> None:
    if seed == 7:
        raise DataContractError("no such thing")
    time.sleep(300)


def test_an_interrupted_command_does_not_wait_for_its_processes(
    prepared: Path, settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "_climb_seed", _fail_or_sleep)
    request = request_of(prepared, settings, tmp_path / "workspace", seeds=2, jobs=2)
    begun = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        run_ladder(request, show=interrupt)

    assert time.monotonic() - begun < 120
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [0, -1])
def test_at_least_one_job_is_needed(
    prepared: Path, settings: RunSettings, tmp_path: Path, jobs: int
) -> None:
    request = request_of(prepared, settings, tmp_path / "workspace", jobs=jobs)

    with pytest.raises(ConfigError, match=f"--jobs is {jobs}, but at least 1"):
        run_ladder(request, show=lambda line: None)

    assert not (tmp_path / "workspace").exists()


_PARENT = """
import multiprocessing, sys, time
from mmr.ablation.side_by_side import _begin

def work():
    _begin(1)
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
"""


def test_a_command_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()

    begun = time.monotonic()
    while _runs(child) and time.monotonic() - begun < 30:
        time.sleep(0.1)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
