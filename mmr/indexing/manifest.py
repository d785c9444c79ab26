"""What `index.json` records: the identity of an index and what it was measured to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mmr.config.index import IndexKind
from mmr.errors import ArtifactError, CorruptArtifactError

FORMAT_VERSION = 1
INDEX_FILE = "index.faiss"
PRODUCTS_FILE = "products.parquet"
MANIFEST_FILE = "index.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 30  # of index.faiss or products.parquet; a larger one is not opened


class IndexCoverage(BaseModel):
    """How many products the index holds, and how many had text and an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: int = Field(ge=1)
    with_text: int = Field(ge=0)
    with_image: int = Field(ge=0)


class FileRecord(BaseModel):
    """A file's size and content hash, checked before the file is parsed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=1, le=MAX_FILE_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class IndexManifest(BaseModel):
    """The record beside an index.

    Attributes:
        encoder_fingerprint: The encoder whose vectors these are; no other may search them.
        search_effort: HNSW efSearch or IVF nprobe that reached the recall; 0 for flat.
        recall_at_100: Share of the exact 100 best that the index finds.
        recall_queries: How many queries recall was measured on.
        recall_source: `queries` (real ones) or `products` (sampled: an optimistic proxy).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    encoder_fingerprint: str
    kind: IndexKind
    dim: int = Field(ge=1, le=65_536)
    rows: int = Field(ge=1)
    search_effort: int = Field(ge=0)
    recall_at_100: float = Field(ge=0, le=1)
    recall_queries: int = Field(ge=0)
    recall_source: Literal["queries", "products"]
    index: FileRecord
    products: FileRecord
    coverage: IndexCoverage
    dataset_hash: str

    @field_validator("kind")
    @classmethod
    def _check_kind_is_decided(cls, kind: IndexKind) -> IndexKind:
        if kind is IndexKind.AUTO:
            raise ValueError("kind must be flat, hnsw or ivf")
        return kind


def read_manifest(directory: Path) -> IndexManifest:
    """Reads `index.json`.

    Raises:
        ArtifactError: The directory is no index, or one of another format version.
        CorruptArtifactError: The record cannot be parsed.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{directory} is not an index: it has no {MANIFEST_FILE}. Build one with `mmr run`."
        )
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise CorruptArtifactError(
            f"{path} is {path.stat().st_size} bytes, more than the {MAX_MANIFEST_BYTES} allowed. "
            "Build the index again."
        )
    try:
        manifest = IndexManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptArtifactError(
            f"{path} cannot be read: {error}. Build the index again."
        ) from error
    if manifest.format_version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {manifest.format_version}, but this mmr reads version "
            f"{FORMAT_VERSION}. Build the index again with this mmr."
        )
    return manifest
