"""Moves the champion of a workspace whose server does not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmr.errors import MmrError
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.deploy_lock import deploy_lock
from serving.repository import ModelRepository
from serving.rollout import Promotion

if TYPE_CHECKING:
    from mmr.tracking import Registry


def promote_unserved(
    release_id: str, *, workspace: Workspace, registry: Registry, promotion: Promotion
) -> bool:
    """Moves the champion, and what the server will load when it starts, as far as it can.

    Only a release that a deployment has verified and kept can be loaded by a starting server.

    Args:
        release_id: A registered release.
        workspace: Whose server does not run.
        registry: Where the champion moves.
        promotion: For the record.

    Returns:
        Whether a server that is started now serves the release.

    Raises:
        TrackingError: The registry refused; nothing has changed then.
    """
    with deploy_lock(workspace):
        repository = ModelRepository(workspace.serving)
        before = repository.active()
        kept = repository.version_of(release_id)
        if kept is not None:
            repository.set_active(ActiveVersion(kept, release_id))
        try:
            registry.promote(
                release_id,
                expected=promotion.expected,
                why=promotion.why,
                who=promotion.who,
                action=promotion.action,
            )
        except MmrError:
            if kept is not None:
                repository.set_active(before)
            raise
        if kept is not None:
            repository.remove_leftovers()  # newer versions, which are out of use now
        return kept is not None


def in_use(workspace: Workspace) -> dict[str, str]:
    """The releases that the workspace's server serves or keeps loaded, each with how."""
    repository = ModelRepository(workspace.serving)
    used = {
        release_id: f"is kept loaded as version {version}"
        for version, release_id in repository.release_ids().items()
    }
    active = repository.active()
    if repository.holds_trial(active) and (trial := repository.places.read_trial()):
        used[trial.release_id] = f"is on trial as version {trial.version}"
    if active:
        used[active.release_id] = f"serves as version {active.version}"
    return used
