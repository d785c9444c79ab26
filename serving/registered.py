"""Refuses early what the registry would refuse late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmr.errors import ArtifactError
from mmr.release.bundle import Release

if TYPE_CHECKING:
    from mmr.tracking import Registry


def check_registered(release: Release, registry: Registry) -> None:
    """Finds out before anything is loaded whether a release could become champion.

    Raises:
        ArtifactError: The registry does not know it.
    """
    if all(known.release_id != release.release_id for known in registry.releases()):
        raise ArtifactError(
            f"Release {release.release_id} in {release.path} is not registered here, so it cannot "
            "become champion. `mmr releases` lists those that are; `mmr run` registers new ones."
        )
