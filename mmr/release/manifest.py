"""What `release.json` records, and the id that follows from it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.hashing import sha256_json

FORMAT_VERSION = 1
MANIFEST_FILE = "release.json"
EVIDENCE = "evidence"
MAX_MANIFEST_BYTES = 16 << 20
ID_LENGTH = 16
_INSIDE = re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\\\x00]+")  # relative, and never upwards


class ReleaseManifest(BaseModel):
    """The record of a release. Its own hash is the release's id.

    Attributes:
        release_id: First 16 hex digits of the SHA-256 of this record in canonical JSON, without
            `release_id` and `created_at`: the same content gives the same id, whenever and
            wherever it is put together.
        created_at: UTC, ISO 8601.
        files: Relative path to SHA-256, of every file but `release.json` itself.
        encoder_fingerprint: Of the encoder; the index carries the same.
        dim: Length of a vector.
        dataset_hash: Content hash of the dataset that the model was trained and indexed on.
        dataset_revision: DVC's md5 of the dataset, where it is under DVC.
        git_revision: Commit of the code, where there is one.
        mlflow_run_id: The run that decided on this release.
        metrics: Figures of the gate, by `side/metric`, and the recall of the index.
        gate_decision: `promote` or `hold`.
        parent_release: The release whose encoder this one serves with a newer catalogue; None for a
            trained one. It counts for the id only where it is set, as releases from before it do
            not have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    release_id: str = Field(pattern="^[0-9a-f]{16}$")
    created_at: str
    files: dict[str, str]
    encoder_fingerprint: str
    dim: int = Field(ge=1)
    dataset_hash: str
    dataset_revision: str | None
    git_revision: str | None
    mlflow_run_id: str | None
    metrics: dict[str, float]
    gate_decision: str
    parent_release: str | None = None

    @field_validator("files")
    @classmethod
    def _check_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if name != PurePosixPath(name).as_posix() or not _INSIDE.fullmatch(name):
                raise ValueError(f"it names the file {name!r}, which cannot lie in a release")
        return files

    @classmethod
    def create(cls, *, created_at: str, **content: object) -> Self:
        """Builds a record and works out its id; `content` is every other field."""
        draft = cls.model_validate(
            {"release_id": "0" * ID_LENGTH, "created_at": created_at, **content}
        )
        return draft.model_copy(update={"release_id": draft.content_id()})

    def content_id(self) -> str:
        """The id that the content gives."""
        content = self.model_dump(mode="json", exclude={"release_id", "created_at"})
        if self.parent_release is None:
            del content["parent_release"]
        return sha256_json(content)[:ID_LENGTH]

    def serving_id(self) -> str:
        """The identity of what serves, whatever was measured and said about it.

        Two releases of one serving id hold the same files but for their evidence, where times
        and run ids stand: proven twice, they would answer every query alike.
        """
        served = {
            name: digest
            for name, digest in self.files.items()
            if not name.startswith(f"{EVIDENCE}/")
        }
        content = {"files": served, "encoder": self.encoder_fingerprint, "dim": self.dim}
        return sha256_json({**content, "dataset": self.dataset_hash})


def read_manifest(directory: Path) -> ReleaseManifest:
    """Reads `release.json` and checks that it is what its id says.

    Raises:
        ArtifactError: The directory is no release, or one of another format version.
        CorruptArtifactError: The record cannot be parsed, or was changed.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{directory} is not a release: it has no {MANIFEST_FILE}. "
            "`mmr releases` lists the releases of a workspace."
        )
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise CorruptArtifactError(
            f"{path} is {path.stat().st_size} bytes, more than the {MAX_MANIFEST_BYTES} allowed."
        )
    try:
        manifest = ReleaseManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptArtifactError(
            f"{path} cannot be read: {error}. Restore the release from a copy."
        ) from error
    if manifest.format_version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {manifest.format_version}, but this mmr reads version "
            f"{FORMAT_VERSION}. Use the mmr that made it, or train a new release."
        )
    if manifest.content_id() != manifest.release_id:
        raise CorruptArtifactError(
            f"{path} was changed: its content gives the id {manifest.content_id()}, but it names "
            f"itself {manifest.release_id}. Restore the release from a copy."
        )
    return manifest
