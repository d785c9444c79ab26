"""Follows a pipeline as it runs on this machine: clear lines on the screen, everything in a log."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from components.step import EVENT_PREFIX
from mmr.errors import MmrError
from pipelines.graph import StepNode, ancestors


class PipelineFailedError(MmrError):
    """A step failed; the message is the step's own."""


@dataclass(frozen=True)
class StepOutcome:
    """How one step of a run went.

    Attributes:
        name: The component's name.
        status: `done`, `reused` (answered from the step cache), `failed` or `skipped`.
        seconds: Wall-clock time, process start included; 0 unless the step ran.
        report: Metrics and words that the step reported.
    """

    name: str
    status: str
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)


class StepFollower(io.TextIOBase):
    """A stdout for `kfp.local`: reads the steps' events, shows their lines, drops kfp's own.

    A step that fails ends the run at once, by an exception out of `write`: left to itself,
    `kfp.local` would go on with every branch that does not need the failed step.

    Args:
        graph: The pipeline's steps.
        show: Called with each line meant for the user.
        log: Receives everything.
    """

    def __init__(
        self, graph: dict[str, StepNode], *, show: Callable[[str], None], log: TextIO
    ) -> None:
        self._graph, self._show, self._log = graph, show, log
        self._buffer = ""
        self._current: str | None = None
        self._begin = time.monotonic()
        self._quiet_since = time.monotonic()
        self.outcomes: dict[str, StepOutcome] = {}

    def writable(self) -> bool:
        """It is a stream to write to."""
        return True

    def write(self, text: str) -> int:
        """Takes text of any length; whole lines are acted upon."""
        self._log.write(text)
        self._log.flush()
        *lines, self._buffer = (self._buffer + text).split("\n")
        for line in lines:
            self._take(line.strip())  # kfp.local indents each line, at times twice
        return len(text)

    def finish(self) -> list[StepOutcome]:
        """Settles, after a success, what no event told: steps reused or skipped. In order.

        A step behind a condition is settled here only when the condition was false: had it been
        true, a step that is never cached would have run and settled those before it.
        """
        for name, node in self._graph.items():
            if not node.conditions:
                self._settle_reused(name)
            self.outcomes.setdefault(name, StepOutcome(name, "skipped"))
        return [self.outcomes[name] for name in self._graph]

    def _take(self, line: str) -> None:
        if line.startswith(EVENT_PREFIX):
            event = json.loads(line.removeprefix(EVENT_PREFIX))
            getattr(self, f"_on_{event.pop('event')}")(**event)
        elif self._current is not None and _is_rule(line):
            self._on_killed(self._current)
        elif self._current is not None and line:
            self._show(f"  {line}")

    def _on_start(self, *, step: str) -> None:
        before = ancestors(self._graph, step)
        for name in self._graph:
            if name in before:
                self._settle_reused(name)
        self._current, self._begin = step, self._quiet_since
        self._show(f"▸ {step}")

    def _on_end(self, *, step: str, seconds: float, report: dict[str, Any]) -> None:
        self._end("done", report)

    def _on_error(self, *, step: str, message: str, traceback: str | None = None) -> None:
        self._end("failed", {})
        if traceback is not None:
            self._log.write(traceback)
            message = f"step {step} broke: {message}. The traceback is in {self._log.name}"
        raise PipelineFailedError(message)

    def _on_killed(self, step: str) -> None:
        self._end("failed", {})
        raise PipelineFailedError(
            f"step {step} was killed, perhaps for want of memory. Run the same command again: it "
            f"resumes where it stopped. What it said is in {self._log.name}"
        )

    def _settle_reused(self, name: str) -> None:
        if name not in self.outcomes:
            self.outcomes[name] = StepOutcome(name, "reused")
            self._show(f"✓ {name} (reused)")

    def _end(self, status: str, report: dict[str, Any]) -> None:
        assert self._current is not None
        name, self._current = self._current, None
        self._quiet_since = time.monotonic()
        seconds = round(self._quiet_since - self._begin, 1)
        self.outcomes[name] = StepOutcome(name, status, seconds, report)
        mark = "✓" if status == "done" else "✗"
        self._show(f"{mark} {name} ({seconds:.1f} s)")


def _is_rule(line: str) -> bool:
    """Whether `kfp.local` drew its line under a step: the step's process has ended."""
    return len(line) >= 40 and set(line) == {"-"}
