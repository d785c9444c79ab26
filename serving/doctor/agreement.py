"""Do the registry, `active.json` and Triton name the same release? The registry decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import MmrError, ServingError
from mmr.tracking.protocols import CHAMPION, PREVIOUS
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.deploy import deploy
from serving.deploy_lock import deploy_lock
from serving.doctor.finding import Finding, Level
from serving.launcher import shut_down
from serving.process import RunningServer, ServerRecord
from serving.repository import ModelRepository
from serving.settings import ServeSettings

if TYPE_CHECKING:
    from mmr.tracking import AuditRecord, Registry

_AREA = "registry"
_WHY = "repaired by mmr doctor"


@dataclass(frozen=True)
class Agreement:
    """Compares what is champion with what serves.

    Attributes:
        workspace: Whose server it is.
        registry: Names the champion.
        serve: How to start the server where a repair needs one.
        triton_venv: See `TritonVenv.locate`.
    """

    workspace: Workspace
    registry: Registry
    serve: ServeSettings
    triton_venv: Path | None

    def check(self) -> Iterator[Finding]:
        """Champion against `active.json` against Triton's answer; aliases against the record."""
        champion = self.registry.resolve(CHAMPION)
        active = ModelRepository(self.workspace.serving).active()
        server = ServerRecord(self.workspace.serving).running()
        answering = _answering(server) if server and active else None
        named = {
            "champion": champion,
            "active.json": active.release_id if active else None,
            **({"Triton": answering} if server and active else {}),
        }
        said = ", ".join(f"{place} {release or 'none'}" for place, release in named.items())
        if len(set(named.values())) == 1:
            yield Finding(_AREA, Level.OK, said)
        elif champion is None and active is not None:
            yield self._serves_unpromoted(said, active)
        elif active is None:
            yield Finding(
                _AREA, Level.WARNING, f"{said}: nothing serves", "`mmr deploy champion` deploys it."
            )
        else:
            yield Finding(
                _AREA,
                Level.ERROR,
                f"{said}: they must be the same",
                "A deployment was cut short, or a promotion met no running server. `mmr deploy "
                "champion` or `mmr doctor --repair` makes them agree.",
                lambda: self._serve_champion(str(champion)),
            )
        yield from self._record(champion)

    def _serves_unpromoted(self, said: str, active: ActiveVersion) -> Finding:
        def repair() -> str:
            self.registry.promote(active.release_id, expected=None, why=_WHY, who=getuser())
            return f"release {active.release_id}, which serves, is champion now"

        return Finding(
            _AREA,
            Level.ERROR,
            f"{said}: what serves was never promoted",
            f"The first deployment was cut short: `mmr deploy {active.release_id}` or "
            "`mmr doctor --repair` finishes it.",
            repair,
        )

    def _serve_champion(self, champion: str) -> str:
        repository = ModelRepository(self.workspace.serving)
        runs = ServerRecord(self.workspace.serving).running() is not None
        if not runs:
            with deploy_lock(self.workspace):
                kept = repository.version_of(champion)
                if kept is not None:  # verified when it was deployed: nothing has to run for it
                    repository.set_active(ActiveVersion(kept, champion))
                    repository.remove_leftovers()  # the newer version, which is out of use now
                    return f"`mmr serve` will load the champion {champion} (version {kept})"
        report = deploy(
            self.workspace.releases / champion,
            workspace=self.workspace,
            registry=self.registry,
            why=_WHY,
            serve=self.serve,
            triton_venv=self.triton_venv,
        )
        if not runs:
            shut_down(self.workspace, grace_s=self.serve.stop_grace_s)
        state = "serves" if runs else "was verified; `mmr serve` will load it"
        return f"the champion {champion} {state} (version {report.version})"

    def _record(self, champion: str | None) -> Iterator[Finding]:
        """The newest move of the champion, against the aliases."""
        history = self.registry.history()
        moved = next((record for record in history if record.release_id == champion), None)
        if champion is None or moved is None:
            return
        if not moved.finished:
            yield self._unfinished(moved)
        previous = self.registry.resolve(PREVIOUS)
        if previous != moved.replaced and moved.replaced is not None:
            yield self._wrong_previous(previous, moved.replaced)

    def _unfinished(self, moved: AuditRecord) -> Finding:
        def repair() -> str:
            self.registry.promote(
                moved.release_id, expected=moved.release_id, why=_WHY, who=getuser()
            )
            return f"the record of the promotion of {moved.release_id} is finished"

        return Finding(
            _AREA,
            Level.ERROR,
            f"the promotion of {moved.release_id} at {moved.when} was cut short before its record "
            "was finished",
            f"`mmr deploy {moved.release_id}` or `mmr doctor --repair` finishes it.",
            repair,
        )

    def _wrong_previous(self, previous: str | None, replaced: str) -> Finding:
        def repair() -> str:
            self.registry.set_alias(PREVIOUS, replaced)
            return f"the alias previous names {replaced}"

        return Finding(
            _AREA,
            Level.ERROR,
            f"the alias previous names {previous or 'none'}, but the champion replaced {replaced}",
            "A rollback would go to the wrong release: `mmr doctor --repair` sets the alias.",
            repair,
        )


def _answering(server: RunningServer) -> str | None:
    """The release that answers unpinned requests; both if the two models differ, None if none."""
    try:
        with SearchClient(server.grpc_url, timeout_s=5.0, probe=True) as client:
            found = client.search("white wardrobe", 1).release_id
            embedded = client.embed(["white wardrobe"]).release_id
            return found if found == embedded else f"{found} (search), {embedded} (query_encoder)"
    except ServingError:
        return None


def check_agreement(agreement: Agreement) -> list[Finding]:
    """All findings; a registry that fails while it is asked is one itself."""
    try:
        return list(agreement.check())
    except MmrError as error:
        return [Finding(_AREA, Level.ERROR, str(error), "Follow the message, then look again.")]
