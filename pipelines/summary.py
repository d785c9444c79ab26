"""What one run did, gathered from the files that its steps wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmr.data.dataset import Dataset, DatasetManifest
from mmr.workspace import Workspace
from pipelines.example_searches import (
    ShownSearch,
    example_searches,
    own_queries,
    validation_grades,
)
from pipelines.local import LocalRun
from pipelines.submission import Source


class StepSummary(BaseModel):
    """One step: `done`, `reused` or `skipped`, and its wall-clock seconds."""

    name: str
    status: str
    seconds: float


class RunSummary(BaseModel):
    """Everything that `mmr run` prints at the end; kept as `runs/<time>/summary.json`.

    Attributes:
        finished_at: UTC, ISO.
        seconds: Wall-clock time of the whole run.
        source, source_revision: What was run on, and the hash of its content.
        dataset: Manifest of the prepared dataset.
        dataset_path: Where the prepared dataset lies.
        steps: In the pipeline's order.
        gate: The gate's own record, `gate.json`.
        release_id: The release that was built; None if the gate rejected the candidate.
        deployed: Whether that release was put into Triton by this run.
        champion: Whether it was the champion before: the run had nothing new to release.
        index: The index's own record, `index.json`.
        searches: Example searches; empty when no server answers.
        search_note: Why there are none.
        report: The HTML report.
        data_docs: The validation's report.
        workspace: The workspace's directory.
        tracking_uri: The MLflow store.
    """

    model_config = ConfigDict(frozen=True)

    finished_at: str
    seconds: float
    source: str
    source_revision: str
    dataset: DatasetManifest
    dataset_path: Path
    steps: list[StepSummary]
    gate: dict[str, Any]
    release_id: str | None
    deployed: bool
    champion: bool = False
    index: dict[str, Any] | None
    searches: list[ShownSearch]
    search_note: str
    report: Path
    data_docs: Path
    workspace: Path
    tracking_uri: str


def summarise(
    run: LocalRun,
    *,
    source: Source,
    workspace: Workspace,
    tracking_uri: str,
    searches: tuple[str, ...],
    seconds: float,
) -> RunSummary:
    """Gathers a run's results and asks the served release a few queries.

    Args:
        run: The finished run.
        source: What it ran on.
        workspace: Where it ran.
        tracking_uri: Its MLflow store.
        searches: Queries to show; empty for some of the dataset's validation queries.
        seconds: Wall-clock time so far.
    """
    dataset = Dataset(run.outputs["dataset"])
    gate = run.outputs["gate"]
    reports = {step.name: step.report for step in run.steps}
    release_id = reports["register_release"].get("release_id")
    shown, note = example_searches(
        workspace, searches or own_queries(dataset), validation_grades(dataset)
    )
    return RunSummary(
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        source=source.name,
        source_revision=source.revision,
        dataset=dataset.manifest,
        dataset_path=dataset.path,
        steps=[
            StepSummary(name=step.name, status=step.status, seconds=step.seconds)
            for step in run.steps
        ],
        gate=_read_json(gate / "gate.json"),
        release_id=release_id,
        deployed="release_id" in reports["deploy_triton"],
        champion=reports["register_release"].get("alias") == "champion",
        index=_read_json(workspace.releases / release_id / "index" / "index.json")
        if release_id
        else None,
        searches=shown,
        search_note=note,
        report=gate / "report.html",
        data_docs=run.outputs["validation"] / "data_docs",
        workspace=workspace.path,
        tracking_uri=tracking_uri,
    )


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
