"""Puts a release into production: staged, verified by its golden queries, then switched.

The steps, and what a kill between any two of them leaves:

1. Both models are staged and loaded under their candidate names: clients see nothing.
2. The candidate answers the golden queries of the release. If it fails, the old one serves on.
3. The same files become version n of `search` and `query_encoder`, loaded beside version n-1.
   Requests without a pinned version go to n as soon as it is loaded whole; those under way in
   n-1 finish there.
4. `active.json` names version n; a restarted server loads it. Before that, it loads n-1.
5. The registry moves `champion`. If another promoter was faster, steps 3 and 4 are undone.
6. Versions older than the previous one are retired.

Running the same deployment again finishes what was cut short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mmr.errors import ArtifactError, MmrError, ServingError
from mmr.progress import progress_bar
from mmr.release.bundle import GoldenQuery, Release
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.golden import GoldenReport, verify
from serving.launcher import load_models, start
from serving.model_config import CANDIDATE_SUFFIX, MODELS
from serving.process import RunningServer, ServerRecord
from serving.repository import ActiveVersion, ModelRepository
from serving.settings import DeploySettings, ServeSettings
from serving.transport import Transport, connect

if TYPE_CHECKING:
    from mmr.tracking import Registry

_STEPS = 5


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
        settings: What the release must show.
        serve: How to start the server if it does not run, and how to run the models.
        triton_venv: See `TritonVenv.locate`.

    Raises:
        ArtifactError: The release is damaged, or not registered.
        ServingError: It could not be loaded or failed its golden queries; the old one serves on.
        TrackingError: The registry refused; the old release serves again.
    """
    began = time.monotonic()
    settings, serve = settings or DeploySettings(), serve or ServeSettings()
    release = Release.open(release_dir, verify="hashes")
    golden = release.golden_queries()
    _check_registered(release, registry)
    expected = registry.resolve("champion")
    with _locked(workspace), progress_bar(f"Deploying {release.release_id}", _STEPS) as bar:
        server = _running_server(workspace, serve, triton_venv)
        bar.advance(note="server runs")
        rollout = _Rollout(release, server, ModelRepository(workspace.serving), settings, serve)
        with rollout:
            before = rollout.repository.active()
            report = None
            if not rollout.serves_already():
                report = rollout.verify_candidate(golden)
                bar.advance(note="golden queries passed")
                rollout.go_live()
                bar.advance(note="switched")
            after = rollout.repository.active()
            if after is None:
                raise ServingError("No version is active after the switch. Deploy again.")
            if expected != release.release_id:
                rollout.promote(registry, before, expected=expected, why=why, who=who or getuser())
            bar.advance(note="champion moved")
            rollout.repository.retire(keep=settings.keep_versions)
            bar.advance(note="done")
    return DeployReport(
        release_id=release.release_id,
        version=after.version,
        previous_release_id=before.release_id if before else None,
        golden=report,
        seconds=time.monotonic() - began,
        grpc_url=server.grpc_url,
    )


class _Rollout:
    """One release on its way into a running server."""

    def __init__(
        self,
        release: Release,
        server: RunningServer,
        repository: ModelRepository,
        settings: DeploySettings,
        serve: ServeSettings,
    ) -> None:
        self.repository = repository
        self._release, self._server = release, server
        self._settings, self._serve = settings, serve
        self._transport: Transport = connect(
            server.grpc_url, protocol="grpc", timeout_s=settings.load_timeout_s
        )

    def __enter__(self) -> _Rollout:
        """Clears away what a killed deployment left."""
        self._remove_candidates()
        for version in self.repository.unactivated():
            self._withdraw(version)
        self.repository.remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves no candidate behind, whatever happened."""
        try:
            self._remove_candidates()
        finally:
            self._transport.close()

    def serves_already(self) -> bool:
        """Whether this release is active and answers."""
        active = self.repository.active()
        return (
            active is not None
            and active.release_id == self._release.release_id
            and all(self._transport.ready(model, version=active.version) for model in MODELS)
        )

    def verify_candidate(self, golden: list[GoldenQuery]) -> GoldenReport:
        """Loads the release out of the clients' sight and sends it the golden queries."""
        version = self.repository.next_version()
        models = self._add(version, candidate=True)
        self._load(models)
        with SearchClient(
            self._server.grpc_url,
            timeout_s=self._settings.load_timeout_s,
            version=version,
            model_suffix=CANDIDATE_SUFFIX,
        ) as client:
            return verify(
                client, golden, release_id=self._release.release_id, settings=self._settings
            )

    def go_live(self) -> None:
        """Loads the verified release beside the serving one, and switches to it."""
        version = self.repository.next_version()
        try:
            self._load(self._add(version, candidate=False))
        except MmrError:
            self._withdraw(version)
            raise
        self.repository.set_active(ActiveVersion(version, self._release.release_id))

    def promote(
        self,
        registry: Registry,
        before: ActiveVersion | None,
        *,
        expected: str | None,
        why: str,
        who: str,
    ) -> None:
        """Moves the champion; if the registry refuses, what served before serves again."""
        try:
            registry.promote(self._release.release_id, expected=expected, why=why, who=who)
        except MmrError:
            now = self.repository.active()
            if now and now != before:
                self.repository.set_active(before)
                self._withdraw(now.version)
            raise

    def _add(self, version: int, *, candidate: bool) -> tuple[str, ...]:
        return self.repository.add(
            self._release.path,
            version,
            settings=self._serve.models,
            keep_versions=self._settings.keep_versions,
            candidate=candidate,
        )

    def _load(self, models: tuple[str, ...]) -> None:
        for _ in load_models(self._server, models, timeout_s=self._settings.load_timeout_s):
            pass

    def _withdraw(self, version: int) -> None:
        """Takes a live version back: Triton unloads it and sends traffic to the one before."""
        self.repository.remove(version)
        for model in MODELS:
            if self.repository.versions(model):
                self._transport.load(model, timeout_s=self._settings.load_timeout_s)
            else:
                self._transport.unload(model)

    def _remove_candidates(self) -> None:
        for model in MODELS:
            if self.repository.versions(model + CANDIDATE_SUFFIX):
                self._transport.unload(model + CANDIDATE_SUFFIX)
        self.repository.remove_candidates()


def _check_registered(release: Release, registry: Registry) -> None:
    """Found now, not after the switch, when the registry would refuse."""
    if all(known.release_id != release.release_id for known in registry.releases()):
        raise ArtifactError(
            f"Release {release.release_id} in {release.path} is not registered here, so it cannot "
            "become champion. `mmr releases` lists those that are; `mmr run` registers new ones."
        )


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


@contextmanager
def _locked(workspace: Workspace) -> Iterator[None]:
    workspace.serving.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.serving / "deploy.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise ServingError(
            f"Another deployment into {workspace.path} is under way. Wait until it has finished."
        ) from error
