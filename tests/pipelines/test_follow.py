"""What a run shows while it goes on."""

import io
import json

import pytest

from pipelines.follow import PipelineFailedError, StepFollower
from pipelines.graph import StepNode


def _node(name: str, *needs: str, condition: str | None = None) -> StepNode:
    return StepNode(name, frozenset(needs), (condition,) if condition else (), caches=True)


GRAPH = {
    "first": _node("first"),
    "second": _node("second", "first"),
    "side": _node("side", "first"),
    "third": _node("third", "second", "side"),
    "guarded": _node("guarded", "third", condition="decision != 'reject'"),
}


class Screen:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = io.StringIO()
        self.log.name = "pipeline.log"  # type: ignore[attr-defined]
        self.follower = StepFollower(GRAPH, show=self.lines.append, log=self.log)

    def event(self, **fields: object) -> None:
        self.follower.write(f"        ::mmr {json.dumps(fields)}\n")

    def statuses(self) -> dict[str, str]:
        return {step.name: step.status for step in self.follower.finish()}


def test_lines_of_a_step_are_shown_and_those_of_the_orchestrator_are_not() -> None:
    screen = Screen()

    screen.follower.write("07:00 - INFO - Executing task 'first'\n    [KFP Executor]: input\n")
    screen.event(event="start", step="first")
    screen.follower.write("    epoch 1\n")
    screen.event(event="end", step="first", seconds=2.0, report={})
    screen.follower.write("07:01 - INFO - Task 'first' finished\n")

    assert screen.lines[:2] == ["▸ first", "  epoch 1"]
    assert screen.lines[2].startswith("✓ first (")
    assert len(screen.lines) == 3
    assert "[KFP Executor]: input" in screen.log.getvalue()


def test_a_line_may_come_in_pieces() -> None:
    screen = Screen()

    for piece in ("    ", '::mmr {"event": "st', 'art", "step": "first"}', "\n"):
        screen.follower.write(piece)

    assert screen.lines == ["▸ first"]


def test_steps_before_the_first_that_runs_were_reused_and_others_are_left_open() -> None:
    screen = Screen()

    screen.event(event="start", step="second")

    assert screen.lines == ["✓ first (reused)", "▸ second"]


def test_a_finished_run_settles_what_ran_what_was_reused_and_what_was_skipped() -> None:
    screen = Screen()
    screen.event(event="start", step="third")
    screen.event(event="end", step="third", seconds=1.0, report={"decision": "reject"})

    assert screen.statuses() == {
        "first": "reused",
        "second": "reused",
        "side": "reused",
        "third": "done",
        "guarded": "skipped",
    }


def test_what_a_step_reports_is_kept() -> None:
    screen = Screen()
    screen.event(event="start", step="third")
    screen.event(event="end", step="third", seconds=1.0, report={"decision": "hold", "ndcg": 0.5})

    assert screen.follower.finish()[3].report == {"decision": "hold", "ndcg": 0.5}


def test_error_of_a_step_ends_the_run_with_its_own_words() -> None:
    screen = Screen()
    screen.event(event="start", step="first")

    with pytest.raises(PipelineFailedError, match=r"^row 7 has no title\. Mend the feed\.$"):
        screen.event(event="error", step="first", message="row 7 has no title. Mend the feed.")

    assert screen.lines[-1].startswith("✗ first")


def test_bug_in_a_step_names_the_step_and_leaves_the_traceback_in_the_log() -> None:
    screen = Screen()
    screen.event(event="start", step="first")

    with pytest.raises(PipelineFailedError, match=r"step first broke: KeyError.*pipeline\.log"):
        screen.event(
            event="error", step="first", message="KeyError: 'x'", traceback="File x.py\nKeyError"
        )

    assert "File x.py\nKeyError" in screen.log.getvalue()


def test_a_killed_step_is_named() -> None:
    screen = Screen()
    screen.event(event="start", step="first")

    with pytest.raises(PipelineFailedError, match="step first was killed"):
        screen.follower.write("-" * 80 + "\n")
