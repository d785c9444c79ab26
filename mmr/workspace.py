"""The folder where one shop's runs, releases, caches and servers live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmr.atomic import write_json
from mmr.errors import ArtifactError

FORMAT_VERSION = 1


class Workspace:
    """Names every place inside a workspace. Open one with `Workspace.open`.

    Args:
        path: The workspace's directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Workspace:
        """Opens a workspace, making a new one in an empty or absent directory if asked to.

        Raises:
            ArtifactError: No workspace is there, or one of another format version.
        """
        marker = path / "workspace.json"
        if not marker.is_file():
            if not create:
                raise ArtifactError(
                    f"{path} is not a workspace: it has no workspace.json. "
                    "Make one with `mmr run DATASET --workspace DIR`."
                )
            if path.is_dir() and any(path.iterdir()):
                raise ArtifactError(
                    f"{path} holds other files and is not a workspace. Choose an empty directory."
                )
            path.mkdir(parents=True, exist_ok=True)
            write_json(marker, {"format_version": FORMAT_VERSION})
        _check_version(marker)
        return cls(path.resolve())

    @property
    def releases(self) -> Path:
        """Immutable release directories, each named by its release id."""
        return self.path / "releases"

    @property
    def cache(self) -> Path:
        """Content-addressed results that can be made again at any time."""
        return self.path / "cache"

    @property
    def serving(self) -> Path:
        """The local Triton server: model repository, pid file, log."""
        return self.path / "serving"

    @property
    def monitor(self) -> Path:
        """What `mmr monitor` saw last, and which trainings it has started."""
        return self.path / "monitor"

    @property
    def pipeline_runs(self) -> Path:
        """Pipeline root and step cache of `kfp.local`."""
        return self.path / "pipeline-runs"

    @property
    def runs(self) -> Path:
        """One directory per `mmr run`: summary and links to its report."""
        return self.path / "runs"

    @property
    def audit_file(self) -> Path:
        """Every move of the champion as a line of JSON, whatever store holds the registry."""
        return self.path / "audit.jsonl"

    @property
    def tracking_uri(self) -> str:
        """The default MLflow store: SQLite inside the workspace."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @contextmanager
    def only_run(self) -> Iterator[None]:
        """Keeps other trainings and refreshes out meanwhile.

        Raises:
            ArtifactError: One is at work here.
        """
        try:
            with FileLock(self.path / "run.lock", timeout=0):
                yield
        except Timeout as error:
            raise ArtifactError(
                f"Another `mmr run`, `mmr refresh` or `mmr ablate` works in {self.path}. Wait for "
                "it, or choose another --workspace."
            ) from error


def _check_version(marker: Path) -> None:
    try:
        version = json.loads(marker.read_text(encoding="utf-8"))["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{marker} is damaged. Move the workspace away and run again."
        ) from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{marker.parent} is a workspace of format {version}, but this mmr reads format "
            f"{FORMAT_VERSION}. Use the mmr that made it, or choose a new --workspace."
        )
