"""What a new run learns from the summaries of earlier ones."""

from pathlib import Path

import pytest

from mmr.atomic import write_text
from mmr.data.dataset import DatasetManifest
from mmr.workspace import Workspace
from pipelines.earlier_runs import last_duration, previous_dataset
from pipelines.summary import RunSummary, StepSummary


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace", create=True)


def _ran(
    workspace: Workspace, day: int, dataset: Path, *, revision: str, seconds: float, trained: str
) -> None:
    summary = RunSummary(
        finished_at=f"2026-01-0{day}T00:00:00",
        seconds=seconds,
        source="shop",
        source_revision=revision,
        dataset=DatasetManifest(
            name="shop",
            content_hash=revision,
            products=1,
            queries=1,
            judgements=1,
            products_without_image=0,
        ),
        dataset_path=dataset,
        steps=[StepSummary(name="train_text_only", status=trained, seconds=seconds / 2)],
        gate={},
        release_id=None,
        deployed=False,
        index=None,
        searches=[],
        search_note="",
        report=Path("report.html"),
        data_docs=Path("docs"),
        workspace=workspace.path,
        tracking_uri="",
    )
    write_text(_file(workspace, day), summary.model_dump_json())


def _file(workspace: Workspace, day: int) -> Path:
    file = workspace.runs / f"2026010{day}T000000Z" / "summary.json"
    file.parent.mkdir(parents=True)
    return file


def test_first_run_knows_neither_dataset_nor_duration(workspace: Workspace) -> None:
    assert previous_dataset(workspace, "r1") is None
    assert last_duration(workspace) is None


def test_summary_of_another_version_is_passed_over(workspace: Workspace) -> None:
    write_text(_file(workspace, 1), '{"from": "another version"}')

    assert previous_dataset(workspace, "r1") is None
    assert last_duration(workspace) is None


def test_previous_dataset_is_the_latest_of_other_content_that_is_still_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "oldest").mkdir()
    (tmp_path / "same").mkdir()
    for day, name, revision in ((1, "oldest", "r0"), (2, "gone", "r1"), (3, "same", "r2")):
        _ran(workspace, day, tmp_path / name, revision=revision, seconds=9, trained="done")

    assert previous_dataset(workspace, "r2") == tmp_path / "oldest"


def test_duration_is_that_of_the_latest_run_that_trained(
    workspace: Workspace, tmp_path: Path
) -> None:
    for day, seconds, trained in ((1, 400.0, "done"), (2, 300.0, "done"), (3, 5.0, "reused")):
        _ran(workspace, day, tmp_path, revision="r", seconds=seconds, trained=trained)

    assert last_duration(workspace) == 300
