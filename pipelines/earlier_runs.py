"""What the earlier runs of a workspace tell a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from mmr.workspace import Workspace
from pipelines.summary import RunSummary

_TRAINED = "train_text_only"  # the first step that takes minutes


def previous_dataset(workspace: Workspace, source_revision: str) -> Path | None:
    """The prepared dataset of the latest run on other content, if it is still there.

    A run on the same content is passed over: an unchanged run then has unchanged parameters, and
    every step of it can be reused.
    """
    for summary in _latest_first(workspace):
        if summary.source_revision != source_revision and summary.dataset_path.is_dir():
            return summary.dataset_path
    return None


def last_duration(workspace: Workspace) -> float | None:
    """Seconds of the latest run that trained; None if there was none."""
    for summary in _latest_first(workspace):
        if any(step.name == _TRAINED and step.status == "done" for step in summary.steps):
            return summary.seconds
    return None


def _latest_first(workspace: Workspace) -> Iterator[RunSummary]:
    for file in sorted(workspace.runs.glob("*/summary.json"), reverse=True):
        try:
            yield RunSummary.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError:  # written by another version of mmr: nothing to learn from
            continue
