"""Finds the revisions that a release records: of the data (DVC) and of the project (git)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from pipelines.submission import Lineage


def find_lineage(source: str) -> Lineage:
    """Reads DVC's lock file and git's head, where there are any.

    Args:
        source: The dataset's directory, or a source that is no path.
    """
    path = Path(source)
    where = path if path.is_dir() else Path.cwd()
    return Lineage(git_revision=_git_head(where), dataset_revision=_dvc_hash(path))


def _git_head(directory: Path) -> str | None:
    try:
        found = subprocess.run(
            ["git", "-C", str(directory), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository: not an error
        return None
    return found.stdout.strip()


def _dvc_hash(dataset: Path) -> str | None:
    """The hash that DVC recorded for an output of a stage, or for a tracked directory."""
    dataset = dataset.resolve()
    for parent in dataset.parents:
        lock = parent / "dvc.lock"
        if lock.is_file():
            stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
            for stage in stages.values():
                for out in stage.get("outs", []):
                    if (parent / out["path"]).resolve() == dataset:
                        return str(out.get("md5")) if out.get("md5") else None
    pointer = dataset.with_name(f"{dataset.name}.dvc")
    if pointer.is_file():
        outs = (yaml.safe_load(pointer.read_text(encoding="utf-8")) or {}).get("outs", [])
        return next((str(out["md5"]) for out in outs if out.get("md5")), None)
    return None
