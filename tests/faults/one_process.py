"""Runs pipelines with every step inside the command's own process.

`kfp.local` starts a Python for every step, and with it every library. Here a step is a call, so
that a command that is broken a hundred times over takes minutes, and a kill takes command and step
at the same moment. All else is as ever: graph, step cache, artifacts, follower, summary.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.faults.injector import reach

_FUNCTION, _INPUT = "--function_to_execute", "--executor_input"


@contextmanager
def steps_in_this_process() -> Iterator[None]:
    """While the block runs, `kfp.local` calls its steps; where each starts and ends counts."""
    with pytest.MonkeyPatch.context() as patch:
        handler = "kfp.local.subprocess_task_handler.run_local_subprocess"
        patch.setattr(handler, _run_step)
        patch.setattr("pipelines.local.forked_steps", lambda log: nullcontext())
        patch.setattr("components.step._end_with_reader", lambda: None)  # nobody follows
        yield


def _run_step(full_command: list[str], env_vars: Any = None) -> int:
    """Does what the command of a step does: sh -c SCRIPT SOURCE --executor_input … ."""
    import json

    from kfp.dsl.executor import Executor

    name = full_command[full_command.index(_FUNCTION) + 1]
    executor_input = json.loads(full_command[full_command.index(_INPUT) + 1])
    source = next(part for part in full_command if f"def {name}(" in part)
    reach(f"start {name}")
    with tempfile.TemporaryDirectory() as scratch:
        function = getattr(_imported(source, Path(scratch) / f"{name}_step.py"), name)
        try:
            Executor(executor_input=executor_input, function_to_execute=function).execute()
        except SystemExit as ended:
            return int(ended.code or 0)
    reach(f"end {name}")
    return 0


def _imported(source: str, file: Path) -> Any:
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
