"""Steps forked off a process that has imported their libraries: real forks, real kfp components."""

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from kfp import dsl, local
from kfp.local import subprocess_task_handler

from pipelines.forked_steps import StepServer, forked_steps

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="steps are forked on Linux alone"
)
_START_S = 120
_PLAIN = subprocess_task_handler.run_local_subprocess


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def who(told: str) -> str:
    import json
    import os
    import random
    import sys

    loaded = [name for name in ("torch", "mlflow", "great_expectations") if name in sys.modules]
    print(f"{told} was heard")
    return json.dumps({"parent": os.getppid(), "loaded": loaded, "random": random.random()})


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def end(how: str) -> None:
    import os
    import signal

    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raise":
        raise ValueError("this is why")
    raise SystemExit(3)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def gradient() -> str:
    import hashlib

    import torch

    torch.manual_seed(7)
    rows = torch.randn(513, 384, requires_grad=True)
    unit = torch.nn.functional.normalize(torch.nn.Linear(384, 384)(rows), dim=-1)
    (unit @ unit.T).logsumexp(1).sum().backward()
    return f"{torch.get_num_threads()} {hashlib.sha256(rows.grad.numpy().tobytes()).hexdigest()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StepServer]:
    root = tmp_path_factory.mktemp("forked")
    _init_kfp(root)
    with (root / "log").open("w") as log, forked_steps(log) as server:
        assert server is not None
        _wait(server.is_ready)
        yield server
    assert not Path(f"/proc/{server.pid}").exists()


def _init_kfp(root: Path) -> None:
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root / "artifacts"))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ask(told: str = "it") -> dict[str, object]:
    answer: dict[str, object] = json.loads(who(told=told).output)
    return answer


def test_a_step_runs_in_a_process_that_has_its_libraries_already(
    server: StepServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = _ask("every word")

    assert answer["parent"] == server.pid
    assert answer["loaded"] == ["torch", "mlflow", "great_expectations"]
    assert "every word was heard" in capsys.readouterr().out


def test_steps_share_no_random_numbers(server: StepServer) -> None:
    assert _ask()["random"] != _ask()["random"]


def test_a_forked_step_computes_what_one_with_a_python_of_its_own_does_to_the_last_digit(
    server: StepServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = gradient().output
    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", _PLAIN)

    assert gradient().output == forked


@pytest.mark.parametrize("how", ["kill", "raise", "exit"])
def test_a_step_that_ends_badly_is_told_and_the_next_one_runs(
    how: str, server: StepServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="FAILURE"):
        end(how=how)

    assert ("this is why" in capsys.readouterr().out) == (how == "raise")
    assert _ask()["parent"] == server.pid


class _Refusing(io.StringIO):
    """A screen that breaks at a word, as the follower of a run does when a step fails."""

    def write(self, text: str) -> int:
        if "was heard" in text:
            raise InterruptedError
        return super().write(text)


def test_a_reader_that_gives_up_waits_for_the_step_to_end(server: StepServer) -> None:
    with redirect_stdout(_Refusing()), pytest.raises(InterruptedError):
        who(told="this")

    assert server.is_ready()
    assert _ask()["parent"] == server.pid


def test_without_its_server_a_step_starts_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess_task_handler, "run_local_subprocess", _PLAIN)
    _init_kfp(tmp_path)
    with (tmp_path / "log").open("w") as log, forked_steps(log) as server:
        assert server is not None
        assert not server.is_ready()  # imports take seconds
        early = _ask()
        os.kill(server.pid, signal.SIGKILL)
        _wait(lambda: _state(server.pid) == "Z")
        late = _ask()

    assert subprocess_task_handler.run_local_subprocess is _PLAIN
    for answer in (early, late):
        assert answer["parent"] != server.pid
        assert answer["loaded"] == []


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
