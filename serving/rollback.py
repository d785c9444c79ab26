"""Puts the release that was champion before back into production, without a rebuild.

A deployment keeps the version that it replaced loaded. A rollback therefore loads nothing:

1. The version kept answers its golden queries once more.
2. `active.json` names it; a restarted server loads it.
3. The newer version is withdrawn: requests under way in it finish there.
4. The registry moves `champion`. If it refuses, the withdrawn release is loaded again.

A release that is no longer loaded, as after a rollback of a rollback, is deployed; if it passed its
golden queries in this workspace before, without the load out of the clients' sight.

Running the same rollback again finishes what was cut short.
"""

from __future__ import annotations

import time
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import TrackingError
from mmr.release.bundle import GOLDEN, Release
from mmr.tracking.protocols import CHAMPION, PREVIOUS
from mmr.workspace import Workspace
from serving.deploy import DeployReport, ExpectedChampion, deploy
from serving.deploy_lock import deploy_lock
from serving.process import ServerRecord
from serving.repository import ModelRepository
from serving.rollout import Promotion, Rollout
from serving.settings import DeploySettings, ServeSettings

if TYPE_CHECKING:
    from mmr.tracking import Registry


def roll_back(
    *,
    workspace: Workspace,
    registry: Registry,
    why: str = "rolled back",
    who: str | None = None,
    settings: DeploySettings | None = None,
    serve: ServeSettings | None = None,
    triton_venv: Path | None = None,
) -> DeployReport:
    """Puts the release that was champion before back into production, without a rebuild.

    A release that is still loaded takes over at once. One that is not is deployed like any other.

    Args:
        workspace: Whose server it is.
        registry: Its alias `previous` names the release.
        why: For the registry's record.
        who: For the registry's record; by default the user that runs this.
        settings: What the release must show.
        serve: How to start the server if it does not run, and how to run the models.
        triton_venv: See `TritonVenv.locate`.

    Raises:
        ArtifactError: The release is no longer here, or damaged.
        ServingError: It failed its golden queries or cannot be loaded; the champion serves on.
        TrackingError: Nothing was champion before, or the registry refused.
    """
    release = Release.open(workspace.releases / rollback_target(registry))
    release.verify(GOLDEN)  # the rest was compared when it was loaded, and is again if it must be
    champion = registry.resolve(CHAMPION)
    promotion = Promotion(champion, why, who or getuser(), "rollback")
    warm = _return_to_warm(
        release,
        workspace=workspace,
        registry=registry,
        promotion=promotion,
        settings=settings or DeploySettings(),
        serve=serve or ServeSettings(),
    )
    return warm or deploy(
        release.path,
        workspace=workspace,
        registry=registry,
        why=why,
        who=promotion.who,
        action="rollback",
        expected=ExpectedChampion(champion),
        settings=settings,
        serve=serve,
        triton_venv=triton_venv,
    )


def rollback_target(registry: Registry) -> str:
    """The release that was champion before; of a rollback cut short, the one that it went to.

    Raises:
        TrackingError: There is none.
    """
    newest = registry.latest()
    if newest is not None and newest.action == "rollback" and not newest.finished:
        return newest.release_id  # the alias `previous` may have moved already
    target = registry.resolve(PREVIOUS)
    if target is None:
        raise TrackingError(
            "There is nothing to roll back to: no release was champion before the present one. "
            "`mmr releases` lists the releases; `mmr deploy RELEASE` deploys another."
        )
    return target


def _return_to_warm(
    release: Release,
    *,
    workspace: Workspace,
    registry: Registry,
    promotion: Promotion,
    settings: DeploySettings,
    serve: ServeSettings,
) -> DeployReport | None:
    """Goes back to a version that is still loaded; None if there is none."""
    began = time.monotonic()
    with deploy_lock(workspace):
        server = ServerRecord(workspace.serving).running()
        if server is None:
            return None
        repository = ModelRepository(workspace.serving)
        before = repository.active()
        with Rollout(release, server, repository, settings, serve) as rollout:
            version = rollout.warm_version()
            if before is None or version is None or version >= before.version:
                return None
            golden = rollout.return_to(version, release.golden_queries())
            seconds = time.monotonic() - began  # it serves; the registry is told afterwards
            rollout.promote(registry, before, promotion)
    return DeployReport(
        release_id=release.release_id,
        version=version,
        previous_release_id=before.release_id,
        golden=golden,
        seconds=seconds,
        grpc_url=server.grpc_url,
    )
