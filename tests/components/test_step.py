"""What surrounds the one stage call of every component."""

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kfp import dsl

from components.step import EVENT_PREFIX, FOLLOWED, step
from mmr.errors import DataContractError


def _events(text: str) -> list[dict[str, object]]:
    return [
        json.loads(line.removeprefix(EVENT_PREFIX))
        for line in text.splitlines()
        if line.startswith(EVENT_PREFIX)
    ]


def test_metrics_reach_the_metadata_the_file_and_the_last_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))

    with step("build_index", metrics) as current:
        current.log({"recall": 0.99})
        current.note(kind="flat")

    assert metrics.metadata == {"recall": 0.99}
    assert json.loads(Path(metrics.path).read_text()) == {"recall": 0.99}
    start, end = _events(capsys.readouterr().out)
    assert start == {"event": "start", "step": "build_index"}
    assert (end["event"], end["report"]) == ("end", {"recall": 0.99, "kind": "flat"})


def test_metrics_file_is_written_when_a_step_has_none_to_log(tmp_path: Path) -> None:
    """Without a file, the local step cache would run the step again every time."""
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))

    with step("build_index", metrics):
        pass

    assert Path(metrics.path).is_file()


def test_error_for_the_user_is_one_event_and_exit_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, step("import_data"):
        raise DataContractError("feed.csv line 7 has no title. Mend it.")

    assert ended.value.code == 1
    assert _events(capsys.readouterr().out)[-1] == {
        "event": "error",
        "step": "import_data",
        "message": "feed.csv line 7 has no title. Mend it.",
    }


def test_full_disk_is_an_error_for_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), step("build_index"):
        raise OSError(errno.ENOSPC, "No space left on device", "index.faiss")

    message = str(_events(capsys.readouterr().out)[-1]["message"])
    assert message.startswith("The disk is full while writing index.faiss.")


def test_bug_is_announced_and_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), step("import_data"):
        _ = 1 / 0

    event = _events(capsys.readouterr().out)[-1]
    assert event["message"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in str(event["traceback"])


def test_step_ends_when_its_follower_dies() -> None:
    """A killed `mmr run` must not leave a training step behind that writes to its checkpoint."""
    code = "import time\nfrom components.step import step\nwith step('x'):\n    time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={FOLLOWED: "1"}, text=True
    )
    assert process.stdout is not None
    assert "start" in process.stdout.readline()

    begin = time.monotonic()
    process.stdout.close()  # what the kernel does for a reader that was killed

    assert process.wait(timeout=20) != 0
    assert time.monotonic() - begin < 20
