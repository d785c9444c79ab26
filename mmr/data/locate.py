"""Finds the dataset that a release was built on: by its content, wherever a run left it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mmr.data.dataset import Dataset
from mmr.errors import DataContractError
from mmr.workspace import Workspace


def find_dataset(workspace: Workspace, content_hash: str) -> Dataset | None:
    """The dataset of this content among those that the workspace's runs prepared.

    Args:
        workspace: Where the runs happened.
        content_hash: Of the dataset, as a release's manifest names it.

    Returns:
        None where no run's dataset has this content, or it was removed.
    """
    for path in _prepared_datasets(workspace):
        try:
            dataset = Dataset(path)
        except DataContractError:  # half removed, or of another version: not the one that is wanted
            continue
        if dataset.manifest.content_hash == content_hash:
            return dataset
    return None


def _prepared_datasets(workspace: Workspace) -> Iterator[Path]:
    for marker in sorted(
        workspace.pipeline_runs.glob("artifacts/*/*/*/dataset.json"), reverse=True
    ):
        yield marker.parent
    for file in sorted(workspace.runs.glob("*/summary.json"), reverse=True):
        try:
            yield Path(json.loads(file.read_text(encoding="utf-8"))["dataset_path"])
        except (ValueError, KeyError, TypeError):  # written by another version of mmr
            continue
