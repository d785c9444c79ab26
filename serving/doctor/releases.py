"""The releases: whole, and as the registry has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.atomic import remove_directory
from mmr.errors import MmrError
from mmr.progress import progress_bar
from mmr.release.bundle import Release
from mmr.release.query_profile import has_query_profile
from mmr.stages.whole_release import check_whole
from mmr.tracking.protocols import CHAMPION
from mmr.workspace import Workspace
from serving.doctor.finding import Finding, Level

if TYPE_CHECKING:
    from mmr.tracking import RegisteredRelease

_AREA = "releases"


def check_releases(
    workspace: Workspace, registered: list[RegisteredRelease] | None, *, hashes: bool
) -> Iterator[Finding]:
    """Compares the directories with their manifests and with the registry.

    Args:
        workspace: Where they lie.
        registered: What the registry knows; None where it cannot be read.
        hashes: Whether every file is hashed, which takes about a second per gigabyte.
    """
    present = {path.name: path for path in workspace.releases.glob("[!.]*") if path.is_dir()}
    whole = 0
    with progress_bar("Checking releases", max(1, len(present))) as bar:
        for release_id, path in sorted(present.items()):
            problem = _problem(path, hashes=hashes)
            bar.advance(note=release_id)
            whole += problem is None
            if problem is not None:
                yield problem
    checked = "every hash matches" if hashes else "hashes were not checked (--quick)"
    yield Finding(_AREA, Level.OK, f"{whole} of {len(present)} releases are whole; {checked}")
    if registered is not None:
        yield from _against_registry(present, {known.release_id: known for known in registered})


def _problem(path: Path, *, hashes: bool) -> Finding | None:
    try:
        release = Release.open(path)
        if release.release_id != path.name:
            return Finding(
                _AREA,
                Level.ERROR,
                f"{path} holds release {release.release_id}",
                f"Rename the directory to {release.release_id}.",
            )
        check_whole(release, hashes=hashes)
    except MmrError as error:
        return Finding(
            _AREA,
            Level.ERROR,
            str(error),
            "Do not deploy it. Restore it from a copy, or remove it: "
            f"`mmr prune --release {path.name}`.",
        )
    return None


def _against_registry(
    present: dict[str, Path], known: dict[str, RegisteredRelease]
) -> Iterator[Finding]:
    for release_id in sorted(present.keys() - known.keys()):
        yield Finding(
            _AREA,
            Level.WARNING,
            f"{present[release_id]} is not in the registry, so it cannot be deployed",
            "Run the registration again, use the store that knows it (--tracking-uri), or remove "
            "the directory.",
        )
    for release_id, release in known.items():
        aliases = " and ".join(release.aliases)
        if release.deleted and release_id in present:
            path = present[release_id]
            yield Finding(
                _AREA,
                Level.WARNING,
                f"release {release_id} is marked as deleted, but {path} is still there",
                "`mmr doctor --repair` finishes the removal.",
                lambda path=path: _remove(path),  # type: ignore[misc]
            )
        elif not release.deleted and release_id not in present:
            yield Finding(
                _AREA,
                Level.ERROR if aliases else Level.WARNING,
                f"release {release_id}{f', which is {aliases},' if aliases else ''} is registered, "
                "but its directory is not here",
                "Copy it back, or leave it if it lives in another workspace.",
            )
        elif CHAMPION in release.aliases and not has_query_profile(present[release_id]):
            yield Finding(
                _AREA,
                Level.WARNING,
                f"champion {release_id} has no query profile: `mmr monitor` cannot tell whether "
                "its customers ask for other things than it was trained on",
                "A release of `mmr run` has one; one of `mmr refresh` has that of its champion.",
            )


def _remove(path: Path) -> str:
    remove_directory(path)
    return f"removed {path}"
