"""Writes and reads `index.faiss`: hashed while written, checked before parsed, memory-mapped."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import faiss

from mmr.errors import CorruptArtifactError
from mmr.hashing import sha256_file
from mmr.indexing.manifest import FileRecord

_WRITE_BUFFER_BYTES = 1 << 20


class _HashingFile:
    """Where Faiss writes to: Python's file reports a full disk, Faiss's own hides it at close."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.bytes = 0

    def __call__(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


def write_index(index: Any, path: Path) -> FileRecord:
    """Writes an index and returns its size and hash.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    with path.open("wb", buffering=_WRITE_BUFFER_BYTES) as file:
        sink = _HashingFile(file)
        writer = faiss.PyCallbackIOWriter(sink, _WRITE_BUFFER_BYTES)  # type: ignore[attr-defined]
        faiss.write_index(index, writer)
    return FileRecord(bytes=sink.bytes, sha256=sink.digest.hexdigest())


def read_index(path: Path, record: FileRecord, *, verify: bool) -> Any:
    """Reads an index, memory-mapped, after checking it against its record.

    The size is always checked (a short memory-mapped file would crash the process), the hash
    unless `verify` is false.

    Raises:
        CorruptArtifactError: The file is missing, differs from its record, or cannot be parsed.
    """
    check_file(path, record, verify=verify)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise CorruptArtifactError(
            f"{path} is not a Faiss index that this mmr can read ({error}). Build the index again."
        ) from error


def check_file(path: Path, record: FileRecord, *, verify: bool) -> None:
    """Compares a file with its record, before anything parses it.

    Raises:
        CorruptArtifactError: It is missing, or differs.
    """
    if not path.is_file():
        raise CorruptArtifactError(f"{path} is missing. Build the index again.")
    size = path.stat().st_size
    if size != record.bytes:
        state = "cut short" if size < record.bytes else "longer than recorded"
        raise CorruptArtifactError(
            f"{path} is {state}: {size} bytes, recorded were {record.bytes}. Build the index "
            "again, or restore the file from a copy of its release."
        )
    if verify and (actual := sha256_file(path)) != record.sha256:
        raise CorruptArtifactError(
            f"{path} is corrupt: its SHA-256 is {actual}, recorded was {record.sha256}. Build the "
            "index again, or restore the file from a copy of its release."
        )
