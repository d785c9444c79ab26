"""Puts a release into production: staged, verified by its golden queries, then switched.

The steps, and what a kill between any two of them leaves:

1. Both models are staged and loaded under their candidate names: clients see nothing.
2. The candidate answers the golden queries of the release. If it fails, the old one serves on.
3. The candidate is unloaded, and its files become version n of `search` and `query_encoder`,
   loaded beside version n-1. Requests without a pinned version go to n as soon as it is loaded
   whole; those under way in n-1 finish there.
4. `active.json` names version n; a restarted server loads it. Before that, it loads n-1.
5. The registry moves `champion`. If another promoter was faster, steps 3 and 4 are undone.
6. Versions older than the previous one are retired; that one stays loaded for `keep_warm_s`.

Running the same deployment again finishes what was cut short.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import ServingError
from mmr.progress import Bar, progress_bar
from mmr.release.bundle import GoldenQuery, Release
from mmr.tracking.champion import check_expected
from mmr.tracking.protocols import CHAMPION
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.deploy_lock import deploy_lock
from serving.golden import GoldenReport
from serving.launcher import start
from serving.process import RunningServer, ServerRecord
from serving.registered import check_registered
from serving.repository import ModelRepository
from serving.rollout import Promotion, Rollout
from serving.settings import DeploySettings, ServeSettings

if TYPE_CHECKING:
    from mmr.tracking import Registry
    from mmr.tracking.protocols import Action

_STEPS = 4


@dataclass(frozen=True)
class ExpectedChampion:
    """The champion that the caller saw when deciding; None for none yet."""

    release_id: str | None


@dataclass(frozen=True)
class DeployReport:
    """What a deployment did.

    Attributes:
        release_id: The release that serves now.
        version: Its Triton version number, the same for both models.
        previous_release_id: What served before, if anything did.
        golden: How it answered its golden queries; None if it served already.
        seconds: From call to switch, a start of the server included.
        grpc_url: Where it answers.
    """

    release_id: str
    version: int
    previous_release_id: str | None
    golden: GoldenReport | None
    seconds: float
    grpc_url: str

    def as_metrics(self) -> dict[str, float]:
        """The figures worth logging."""
        metrics = {"version": float(self.version), "seconds": self.seconds}
        if self.golden:
            metrics |= {
                "golden_queries": float(self.golden.queries),
                "golden_max_cosine_distance": self.golden.max_cosine_distance,
                "golden_min_overlap": self.golden.min_overlap,
                "golden_median_ms": self.golden.median_ms,
            }
        return metrics


def deploy(
    release_dir: Path,
    *,
    workspace: Workspace,
    registry: Registry,
    why: str = "deployed",
    who: str | None = None,
    action: Action = "promote",
    expected: ExpectedChampion | None = None,
    settings: DeploySettings | None = None,
    serve: ServeSettings | None = None,
    triton_venv: Path | None = None,
) -> DeployReport:
    """Makes a release the one that serves, and the champion. Starts the server if need be.

    Deploying an older release again (a rollback) is the same: it gets a new, higher version
    number. Deploying the release that serves already changes nothing but the registry, if that
    disagrees.

    Args:
        release_dir: The release.
        workspace: Whose server it is.
        registry: Where the release is registered.
        why: For the registry's record.
        who: For the registry's record; by default the user that runs this.
        action: For the registry's record. A rollback to a release that passed its golden queries
            here before loads it once, not twice: they are asked again as it goes live.
        expected: Refuses when another release is champion; by default any may be.
        settings: What the release must show.
        serve: How to start the server if it does not run, and how to run the models.
        triton_venv: See `TritonVenv.locate`.

    Raises:
        ArtifactError: The release is damaged, or not registered.
        ServingError: It could not be loaded or failed its golden queries; the old one serves on.
        TrackingError: Another champion was expected (nothing was loaded then), or the registry
            refused; the old release serves again.
    """
    began = time.monotonic()
    settings, serve = settings or DeploySettings(), serve or ServeSettings()
    release = Release.open(release_dir, verify="hashes")
    golden = release.golden_queries()
    check_registered(release, registry)
    champion = registry.resolve(CHAMPION)
    if expected is not None and champion != release.release_id:
        check_expected(release.release_id, current=champion, expected=expected.release_id)
    promotion = Promotion(champion, why, who or getuser(), action)
    with deploy_lock(workspace), progress_bar(f"Deploying {release.release_id}", _STEPS) as bar:
        server = _running_server(workspace, serve, triton_venv)
        bar.advance(note="server runs")
        with Rollout(
            release, server, ModelRepository(workspace.serving), settings, serve
        ) as rollout:
            switch = _switch(rollout, golden, registry, promotion, bar)
    return DeployReport(
        release_id=release.release_id,
        version=switch.after.version,
        previous_release_id=switch.before.release_id if switch.before else None,
        golden=switch.golden,
        seconds=time.monotonic() - began,
        grpc_url=server.grpc_url,
    )


@dataclass(frozen=True)
class _Switch:
    """What served before and what serves after, and how that answered its golden queries."""

    before: ActiveVersion | None
    after: ActiveVersion
    golden: GoldenReport | None


def _switch(
    rollout: Rollout,
    golden: list[GoldenQuery],
    registry: Registry,
    promotion: Promotion,
    bar: Bar,
) -> _Switch:
    """Steps 1 to 6 on a server that runs."""
    before = rollout.repository.active()
    report = _take_over(rollout, golden, returns=promotion.action == "rollback")
    bar.advance(note="switched")
    after = rollout.repository.active()
    if after is None:
        raise ServingError("No version is active after the switch. Deploy again.")
    rollout.promote(registry, before, promotion)  # of the champion: finishes its record
    bar.advance(note="champion moved")
    rollout.tidy_up()
    bar.advance(note="done")
    return _Switch(before, after, report)


def _take_over(
    rollout: Rollout, golden: list[GoldenQuery], *, returns: bool
) -> GoldenReport | None:
    """Makes the release the one that serves; None if it does so already, with these settings."""
    if rollout.serves_already():
        return rollout.apply_settings(golden)
    if returns and rollout.was_verified():
        return rollout.return_verified(golden)
    report = rollout.verify_candidate(golden)
    rollout.go_live()
    return report


def _running_server(
    workspace: Workspace, serve: ServeSettings, triton_venv: Path | None
) -> RunningServer:
    try:
        return start(workspace, settings=serve, triton_venv=triton_venv)
    except ServingError:
        # It runs, but the release that was active cannot be loaded: this deployment is the cure.
        if running := ServerRecord(workspace.serving).running():
            return running
        raise
