"""Turns what a user asks for into the parameters of a pipeline: strings only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import components
import mmr
from mmr.config.data import ImportConfig
from mmr.config.refresh import RefreshConfig
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.data.revision import dataset_revision, git_revision
from mmr.errors import DataContractError
from mmr.hashing import sha256_directory, sha256_file, sha256_json
from mmr.tracking.connection import check_recordable
from mmr.workspace import Workspace
from serving.settings import ServeSettings

SHOWROOM = "showroom:"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Source:
    """Where a run's products come from.

    Attributes:
        text: A directory, a file, or `showroom:...`.
        revision: Content hash: other content misses the step cache, although the path is the same.
        name: A name for people.
    """

    text: str
    revision: str
    name: str


def read_source(text: str, *, judged: bool = True) -> Source:
    """Reads and checks what the user named, before any work starts.

    Args:
        text: A directory, a file, or `showroom:...`.
        judged: Whether a dataset without queries or judgements is refused.

    Raises:
        DataContractError: Nothing is there, or a dataset lacks what is needed.
    """
    if text.startswith(SHOWROOM):
        return Source(text=text, revision=text, name=text)
    path = Path(text).resolve()
    if not path.exists():
        raise DataContractError(
            f"{text} does not exist. Name a dataset, a feed, or `showroom:products=3000`."
        )
    if path.is_file():
        return Source(text=str(path), revision=sha256_file(path), name=path.name)
    if not (path / "dataset.json").is_file():
        return Source(text=str(path), revision=sha256_directory(path), name=path.name)
    manifest = Dataset(path).manifest
    for table, rows in (
        ("products", manifest.products),
        ("queries", manifest.queries),
        ("judgements", manifest.judgements),
    ):
        if not rows and (judged or table == "products"):
            raise DataContractError(
                f"{text} has no {table}, so nothing can be trained or proven. Import the feed "
                f"again with {table}: `mmr import --help` tells how."
            )
    return Source(text=str(path), revision=manifest.content_hash, name=manifest.name)


def retrain_arguments(
    source: Source,
    *,
    settings: RunSettings,
    workspace: Workspace,
    tracking_uri: str,
    previous_dataset: Path | None,
    serve: ServeSettings,
    deploy: bool,
) -> dict[str, str]:
    """Builds the pipeline's parameters.

    Args:
        source: What to train on.
        settings: All settings; each step receives its own part.
        workspace: Must be reachable from every step.
        tracking_uri: Where MLflow lives.
        previous_dataset: Dataset to compare with, if any.
        serve: Where Triton listens, if it has to be started.
        deploy: Whether a promoted release goes to Triton.
    """
    return {
        **_common_arguments(source, workspace, tracking_uri, serve=serve, deploy=deploy),
        "prepare_settings": settings.prepare.model_dump_json(),
        "validation_settings": settings.validation.model_dump_json(),
        "vision_settings": settings.vision_stage.model_dump_json(),
        "text_only_settings": settings.text_only_stage.model_dump_json(),
        "align_settings": settings.align_stage.model_dump_json(),
        "fusion_settings": settings.fusion_stage.model_dump_json(),
        "gate_settings": settings.gate.model_dump_json(),
        "index_settings": settings.index.model_dump_json(),
        "release_settings": settings.model_dump_json(),
        "previous_dataset": str(previous_dataset or ""),
    }


def refresh_arguments(
    source: Source,
    *,
    settings: RefreshConfig,
    workspace: Workspace,
    tracking_uri: str,
    serve: ServeSettings,
    deploy: bool,
) -> dict[str, str]:
    """Builds the parameters of the refresh pipeline; other settings are those of the champion.

    Args:
        source: The whole catalogue as it is now.
        settings: What may change.
        workspace: Must be reachable from every step.
        tracking_uri: Where MLflow lives.
        serve: Where Triton listens, if it has to be started.
        deploy: Whether the release goes to Triton.
    """
    return {
        **_common_arguments(source, workspace, tracking_uri, serve=serve, deploy=deploy),
        "refresh_settings": settings.model_dump_json(),
    }


def _common_arguments(
    source: Source, workspace: Workspace, tracking_uri: str, *, serve: ServeSettings, deploy: bool
) -> dict[str, str]:
    check_recordable(tracking_uri)
    return {
        "source": source.text,
        "source_revision": source.revision,
        "workspace": str(workspace.path),
        "tracking_uri": tracking_uri,
        "code_version": code_version(),
        "import_settings": ImportConfig().model_dump_json(),
        "lineage": json.dumps(_lineage(source)),
        "serve_settings": serve.model_dump_json(),
        "deploy": YES if deploy else NO,
    }


def code_version() -> str:
    """Hash of the library's and the components' source: new code must not meet old cached steps."""
    files = [
        [file.relative_to(root.parent).as_posix(), sha256_file(file)]
        for root in (Path(package.__path__[0]) for package in (mmr, components))
        for file in sorted(root.rglob("*"))
        if file.suffix in {".py", ".yaml", ".html", ".j2"}
    ]
    return sha256_json(files)[:16]


def _lineage(source: Source) -> dict[str, str | None]:
    """Revisions that a release records. DVC knows the source, not the pipeline's copy of it."""
    path = Path(source.text)
    return {
        "git_revision": git_revision(Path(mmr.__path__[0])),
        "dataset_revision": dataset_revision(path) if path.is_dir() else None,
    }
