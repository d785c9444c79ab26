"""Finds a release by its id, the beginning of its id, an alias, or its directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmr.errors import ArtifactError
from mmr.release.bundle import Release
from mmr.release.manifest import MANIFEST_FILE
from mmr.tracking.protocols import CANDIDATE, CHAMPION, PREVIOUS


def find_release(releases: Path, name: str, *, resolve: Callable[[str], str | None]) -> Release:
    """Opens the release that a name means; arguments and errors are those of `find_directory`."""
    return Release.open(find_directory(releases, name, resolve=resolve))


def find_directory(releases: Path, name: str, *, resolve: Callable[[str], str | None]) -> Path:
    """Finds the directory of the release that a name means; it may hold a damaged one.

    Args:
        releases: Where releases lie, each in a directory of its id.
        name: What the user wrote.
        resolve: Tells the release that an alias names; called for aliases alone.

    Raises:
        ArtifactError: No release is meant, or several are.
    """
    if (Path(name) / MANIFEST_FILE).is_file():
        return Path(name)
    wanted: str | None = name
    if name in (CHAMPION, PREVIOUS, CANDIDATE):
        wanted = resolve(name)
        if wanted is None:
            raise ArtifactError(f"No release is {name} at present. `mmr releases` lists them all.")
    present = sorted(path.name for path in releases.glob("[!.]*") if path.is_dir())
    found = [release_id for release_id in present if wanted and release_id.startswith(wanted)]
    if len(found) == 1:
        return releases / found[0]
    problem = "names several" if found else "is none"
    raise ArtifactError(
        f"{wanted!r} {problem} of the releases in {releases}: "
        f"{', '.join(found or present) or 'there are none; make one with `mmr run DATASET`'}."
    )
