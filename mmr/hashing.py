"""Content hashes: of a file, of a directory, of a JSON value."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(directory: Path) -> Iterable[Path]:
    """Every plain file below a directory, in the order of its relative path."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def sha256_directory(directory: Path) -> str:
    """SHA-256 over the relative names and contents of all files below a directory, in hex.

    Names matter, times and owners do not; moving or renaming the directory itself changes nothing.
    """
    return sha256_json(
        [
            [path.relative_to(directory).as_posix(), sha256_file(path)]
            for path in files_below(directory)
        ]
    )
