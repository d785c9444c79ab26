"""Which revision of the data and of the code a result comes from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from mmr.hashing import files_below

_CHUNK_BYTES = 1 << 20


def dataset_revision(path: Path) -> str | None:
    """The MD5 under which DVC keeps a dataset, such as `1f3870be….dir`.

    It is read from the nearest `dvc.lock` above the directory, or from `<path>.dvc` beside it.

    Returns:
        None where DVC has no entry for the directory, and also where its files are no longer those
        of the entry: a revision that would fetch other data is worse than none.
    """
    path = path.resolve()
    entry = _entry_of_dvc_file(path) or _entry_of_lock(path)
    if entry is None or not isinstance(entry.get("md5"), str):
        return None
    recorded: str = entry["md5"]
    return recorded if path.is_dir() and _directory_md5(path) == recorded else None


def git_revision(path: Path) -> str | None:
    """The git commit of the repository around a path; `-dirty` when tracked files differ from it.

    Returns:
        None outside of a git repository, before its first commit, or without git.
    """
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _entry_of_dvc_file(path: Path) -> dict[str, Any] | None:
    outs = _read_yaml(path.with_name(f"{path.name}.dvc")).get("outs") or []
    return next((out for out in outs if out.get("path") == path.name), None)


def _entry_of_lock(path: Path) -> dict[str, Any] | None:
    for folder in path.parents:
        lock = folder / "dvc.lock"
        if lock.is_file():
            wanted = path.relative_to(folder).as_posix()
            stages = _read_yaml(lock).get("stages") or {}
            outs = (out for stage in stages.values() for out in stage.get("outs") or [])
            return next((out for out in outs if out.get("path") == wanted), None)
    return None


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def _directory_md5(directory: Path) -> str:
    """The directory hash of DVC 3: MD5 over the JSON list of its files' paths and MD5s."""
    entries = [
        {"md5": _file_md5(file), "relpath": file.relative_to(directory).as_posix()}
        for file in files_below(directory)
    ]
    entries.sort(key=lambda entry: tuple(entry["relpath"].split("/")))
    listing = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(listing, usedforsecurity=False).hexdigest()}.dir"


def _file_md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
