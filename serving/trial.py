"""Tries a candidate out on live queries: as a shadow, as a canary, or both.

The candidate is loaded as `search_trial` and `query_encoder_trial`, under a version number of its
own, and has to pass its golden queries first. `trial.json` then tells the live model which share of
the queries it sees; `serving.live` does the rest. A deployment or rollback to any release ends the
trial, because what it was compared with no longer serves.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import ServingError
from mmr.release.bundle import Release
from mmr.workspace import Workspace
from serving.deploy_lock import deploy_lock
from serving.golden import GoldenReport
from serving.live.places import LivePlaces
from serving.live.settings import CanaryBudget, Trial
from serving.model_config import MODELS, TRIAL_SUFFIX
from serving.process import RunningServer, ServerRecord
from serving.registered import check_registered
from serving.repository import ModelRepository
from serving.rollout import Rollout
from serving.settings import DeploySettings, ServeSettings
from serving.transport import connect

if TYPE_CHECKING:
    from mmr.tracking import Registry


@dataclass(frozen=True)
class Shares:
    """Shares of the live queries, each from 0 to 1.

    Attributes:
        shadow: Sent to the candidate as well.
        canary: Answered by the candidate.
    """

    shadow: float = 0.0
    canary: float = 0.0


def start_trial(
    release_dir: Path,
    *,
    workspace: Workspace,
    registry: Registry,
    shares: Shares,
    budget: CanaryBudget | None = None,
    settings: DeploySettings | None = None,
    serve: ServeSettings | None = None,
) -> tuple[Trial, GoldenReport]:
    """Loads a candidate beside the live release and lets it see live queries.

    Args:
        release_dir: The candidate.
        workspace: Whose server it is; it must run.
        registry: Where the candidate is registered.
        shares: What it sees.
        budget: What a canary may cost before it is rolled back.
        settings: What the candidate must show on its golden queries.
        serve: How to run the models.

    Raises:
        ArtifactError: The release is damaged, or not registered.
        ServingError: No server runs, nothing serves, the release serves already, another trial is
            under way, or the candidate failed its golden queries.
    """
    release = Release.open(release_dir, verify="hashes")
    check_registered(release, registry)
    with deploy_lock(workspace):
        server = _running(workspace)
        repository = ModelRepository(workspace.serving)
        with Rollout(
            release, server, repository, settings or DeploySettings(), serve or ServeSettings()
        ) as rollout:
            live = _live_release(repository, release)
            version, golden = rollout.try_out(release.golden_queries())
            trial = Trial(
                trial_id=uuid.uuid4().hex[:12],
                release_id=release.release_id,
                version=version,
                live_release_id=live,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                shadow_share=shares.shadow,
                canary_share=shares.canary,
                budget=budget or CanaryBudget(),
            )
            repository.places.write_trial(trial)
    return trial, golden


def change_shares(
    workspace: Workspace, *, shadow: float | None = None, canary: float | None = None
) -> Trial:
    """Widens or narrows a trial, within a second; what is not given stays.

    Raises:
        ServingError: There is no trial, or it was rolled back.
    """
    with deploy_lock(workspace):
        places = LivePlaces(workspace.serving)
        trial = _trial(places)
        trip = places.read_trip(trial)
        if trip:
            raise ServingError(
                f"The trial of release {trial.release_id} was rolled back: {trip.reason}. Mend the "
                "cause, end it with `mmr trial stop`, and start another."
            )
        new = {"shadow_share": shadow, "canary_share": canary}
        chosen = {name: share for name, share in new.items() if share is not None}
        changed = Trial.model_validate({**trial.model_dump(), **chosen})
        places.write_trial(changed)
    return changed


def end_trial(workspace: Workspace) -> Trial:
    """Sends the candidate no more queries, and unloads it. Its logs stay.

    Raises:
        ServingError: There is no trial.
    """
    with deploy_lock(workspace):
        repository = ModelRepository(workspace.serving)
        trial = _trial(repository.places)
        repository.places.remove_trial()
        server = ServerRecord(workspace.serving).running()
        if server is not None:
            _unload(server)
        repository.remove_models(TRIAL_SUFFIX)
    return trial


def _running(workspace: Workspace) -> RunningServer:
    server = ServerRecord(workspace.serving).running()
    if server is None:
        raise ServingError(
            f"No Triton server of {workspace.path} is running, so there are no live queries. Start "
            "it with `mmr serve`."
        )
    return server


def _live_release(repository: ModelRepository, release: Release) -> str:
    active = repository.active()
    if active is None:
        raise ServingError(
            "Nothing serves yet, so there is nothing to compare with. Deploy a release: `mmr "
            "deploy RELEASE`."
        )
    if active.release_id == release.release_id:
        raise ServingError(f"Release {release.release_id} serves already. Try another one.")
    trial = repository.places.read_trial()
    if trial is not None:
        raise ServingError(
            f"Release {trial.release_id} is on trial since {trial.started}. End that trial first: "
            "`mmr trial stop`."
        )
    return active.release_id


def _trial(places: LivePlaces) -> Trial:
    trial = places.read_trial()
    if trial is None:
        raise ServingError("There is no trial. Start one with `mmr trial start RELEASE`.")
    return trial


def _unload(server: RunningServer) -> None:
    transport = connect(server.grpc_url, protocol="grpc", timeout_s=30)
    try:
        for model in MODELS:
            transport.unload(model + TRIAL_SUFFIX)
    finally:
        transport.close()
