"""A release: one immutable directory with everything that serves, and proof of what it is.

RELEASE/
  release.json       ReleaseManifest: every file with its SHA-256, and where it all came from
  query_encoder/     encoder.onnx, tokenizer.json, encoder.json
  product_encoder/   the model directory, for embedding new products
  index/             index.faiss, products.parquet, index.json
  query_profile/     profile.json: what the training queries were like, for monitoring
  golden.json        queries with the embedding and products that serving must give
  evidence/          gate.json, the report, the validation, model card and data card
  settings.json      settings of the run
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from mmr.atomic import fsync_path, write_json
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.hashing import files_below, sha256_file
from mmr.release.manifest import EVIDENCE, MANIFEST_FILE, ReleaseManifest, read_manifest

__all__ = [
    "EVIDENCE",
    "GOLDEN",
    "INDEX",
    "PRODUCT_ENCODER",
    "QUERY_ENCODER",
    "SAFE_SUFFIXES",
    "SETTINGS",
    "GoldenQuery",
    "Release",
    "copy_into_release",
    "seal",
    "write_golden_queries",
]

QUERY_ENCODER = "query_encoder"
PRODUCT_ENCODER = "product_encoder"
INDEX = "index"
GOLDEN = "golden.json"
SETTINGS = "settings.json"

# None of these formats can carry code; pickle (.pt, .bin, .pkl, .npy with objects) can.
SAFE_SUFFIXES = frozenset(
    (
        *(".safetensors", ".onnx", ".faiss", ".parquet", ".json", ".jsonl", ".csv", ".tsv"),
        *(".txt", ".md", ".html", ".png", ".svg", ".yaml", ".jinja", ".model"),
    )
)
_MAX_GOLDEN_BYTES = 64 << 20
_MAX_SETTINGS_BYTES = 16 << 20


@dataclass(frozen=True)
class GoldenQuery:
    """A query with the answer that the release must give wherever it is served.

    Attributes:
        embedding: `dim` numbers.
        product_ids: The best products, best first.
        scores: Their cosine similarities.
    """

    text: str
    embedding: list[float]
    product_ids: list[str]
    scores: list[float]


_GOLDEN_QUERIES = TypeAdapter(list[GoldenQuery])


class Release:
    """A release on disk, opened for reading. Open one with `Release.open`."""

    def __init__(self, path: Path, manifest: ReleaseManifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path, verify: Literal["none", "hashes"] = "none") -> Release:
        """Opens a release; `release.json` itself is always checked against the release id.

        Args:
            path: The release's directory.
            verify: `hashes` compares every file with its recorded hash.

        Raises:
            ArtifactError: The directory is no release of this format.
            CorruptArtifactError: A file differs, is missing, or is extra; each is named.
        """
        release = cls(path, read_manifest(path))
        if verify == "hashes":
            release.verify()
        return release

    @property
    def release_id(self) -> str:
        """The id that follows from the content."""
        return self.manifest.release_id

    @property
    def index_dir(self) -> Path:
        """For `mmr.indexing.ProductIndex.open`."""
        return self.path / INDEX

    @property
    def query_encoder_dir(self) -> Path:
        """For `mmr.release.query_encoder.OnnxQueryEncoder`."""
        return self.path / QUERY_ENCODER

    @property
    def model_dir(self) -> Path:
        """The model directory that the release was exported from."""
        return self.path / PRODUCT_ENCODER

    def verify(self, *parts: str) -> None:
        """Compares files with the manifest; to be done before anything parses them.

        Args:
            parts: Folders and files directly below the release, such as `INDEX`; all when none.

        Raises:
            CorruptArtifactError: A file differs, is missing, or is extra; each is named.
        """
        found = {
            name: path
            for path in files_below(self.path)
            if (name := path.relative_to(self.path).as_posix()) != MANIFEST_FILE
            and _is_in(name, parts)
        }
        recorded = {
            name: digest for name, digest in self.manifest.files.items() if _is_in(name, parts)
        }
        problems = [f"{name} is missing" for name in sorted(recorded.keys() - found.keys())]
        problems += [f"{name} is extra" for name in sorted(found.keys() - recorded.keys())]
        problems += [f"{name} is a link" for name in sorted(found) if found[name].is_symlink()]
        problems += [
            f"{name} differs from its recorded hash"
            for name in sorted(recorded.keys() & found.keys())
            if sha256_file(found[name]) != recorded[name]
        ]
        if problems:
            raise CorruptArtifactError(
                f"Release {self.release_id} in {self.path} is not whole: {'; '.join(problems)}. "
                "Do not serve it; restore the directory from a copy, or register the release again."
            )

    def settings(self) -> dict[str, Any]:
        """All settings of the run that made it.

        Raises:
            CorruptArtifactError: `settings.json` is missing or cannot be read.
        """
        path = self.path / SETTINGS
        try:
            if path.stat().st_size > _MAX_SETTINGS_BYTES:
                raise ValueError(f"larger than {_MAX_SETTINGS_BYTES} bytes")
            settings = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(settings, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error}). Restore the release from a copy."
            ) from error
        return settings

    def golden_queries(self) -> list[GoldenQuery]:
        """The queries that a deployment is verified with.

        Raises:
            CorruptArtifactError: `golden.json` cannot be read.
        """
        path = self.path / GOLDEN
        try:
            if path.stat().st_size > _MAX_GOLDEN_BYTES:
                raise ValueError(f"larger than {_MAX_GOLDEN_BYTES} bytes")
            record = json.loads(path.read_text(encoding="utf-8"))
            queries = _GOLDEN_QUERIES.validate_python(record["queries"])
            if not queries or any(len(q.product_ids) != len(q.scores) for q in queries):
                raise ValueError("no queries, or not one score for each product")
            return queries
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error!r}). Restore the release from a copy."
            ) from error


def _is_in(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or name.split("/")[0] in parts


def write_golden_queries(path: Path, queries: list[GoldenQuery]) -> None:
    """Writes `golden.json`."""
    write_json(path, {"format_version": 1, "queries": [asdict(query) for query in queries]})


def copy_into_release(source: Path, target: Path) -> None:
    """Copies a directory into a release under construction.

    It copies and never links: a release must not change when its source does, and making it
    read-only must not reach into the source.

    Raises:
        ArtifactError: A file has a format that could carry code.
    """
    for path in files_below(source):
        relative = path.relative_to(source)
        if path.suffix not in SAFE_SUFFIXES:
            raise ArtifactError(
                f"{path} may not go into a release: files of type {path.suffix or 'unknown'} could "
                f"carry code. Allowed are {', '.join(sorted(SAFE_SUFFIXES))}."
            )
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / relative)


def seal(directory: Path, *, created_at: str, content: Mapping[str, Any]) -> ReleaseManifest:
    """Hashes every file of a finished release, writes `release.json`, makes all files read-only.

    Args:
        directory: The release under construction.
        created_at: UTC, ISO 8601.
        content: The manifest's fields but `files`, `release_id` and `created_at`.
    """
    files = {
        path.relative_to(directory).as_posix(): sha256_file(path) for path in files_below(directory)
    }
    manifest = ReleaseManifest.create(created_at=created_at, files=files, **content)
    write_json(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    for path in files_below(directory):
        path.chmod(0o444)
        fsync_path(path)
    return manifest
