"""Removes releases that nobody needs any more, and never one that somebody does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.atomic import remove_directory
from mmr.errors import ArtifactError
from mmr.hashing import files_below

if TYPE_CHECKING:
    from mmr.tracking import Registry


@dataclass(frozen=True)
class PrunePlan:
    """What a removal would do.

    Attributes:
        remove: The releases to remove, oldest first, with their bytes on disk.
        keep: Every other release that lies here, with the reason why it stays.
    """

    remove: dict[str, int]
    keep: dict[str, str]


def plan_prune(
    releases: Path, registry: Registry, *, keep: int, in_use: Mapping[str, str]
) -> PrunePlan:
    """Decides which releases may go.

    Kept are the newest, those that an alias names, those in use, and directories that the
    registry does not know. A removal that was cut short is planned again.

    Args:
        releases: Where releases lie.
        registry: Knows their age and aliases.
        keep: How many of the newest stay; older ones stay only for one of the other reasons.
        in_use: Release ids that serve, each with how.
    """
    present = {path.name: path for path in releases.glob("[!.]*") if path.is_dir()}
    reasons = dict.fromkeys(present, "not in the registry")
    remove: dict[str, int] = {}
    newest = 0
    for known in registry.releases():
        if known.release_id not in present:
            continue
        newest += not known.deleted
        if known.aliases:
            reasons[known.release_id] = ", ".join(known.aliases)
        elif known.release_id in in_use:
            reasons[known.release_id] = in_use[known.release_id]
        elif newest <= keep and not known.deleted:
            reasons[known.release_id] = f"among the newest {keep}"
        else:
            del reasons[known.release_id]
            remove[known.release_id] = _bytes(present[known.release_id])
    return PrunePlan(remove=dict(reversed(remove.items())), keep=reasons)


def delete_release(
    releases: Path, registry: Registry, release_id: str, *, in_use: Mapping[str, str]
) -> None:
    """Removes one release: marked in the registry, renamed out of sight, then deleted.

    Args:
        releases: Where releases lie.
        registry: Refuses if an alias names the release.
        release_id: The release.
        in_use: Release ids that serve, each with how.

    Raises:
        ArtifactError: It serves.
        TrackingError: An alias names it, or it is not registered.
    """
    if release_id in in_use:
        raise ArtifactError(
            f"Release {release_id} may not be deleted: it {in_use[release_id]}. "
            "Deploy another first."
        )
    registry.mark_deleted(release_id)
    if (releases / release_id).is_dir():
        remove_directory(releases / release_id)


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in files_below(directory))
