"""`mmr monitor`: finds release, log and window, and has the stage look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mmr.config.monitor import MonitorConfig
from mmr.errors import ArtifactError
from mmr.monitoring.report import MonitorReport
from mmr.monitoring.tally import RawLine, Window
from mmr.release.bundle import Release
from mmr.release.lookup import find_release
from mmr.stages import monitor
from mmr.tracking.protocols import CHAMPION
from mmr.workspace import Workspace
from serving.live.jsonl_log import read_lines
from serving.live.places import LivePlaces
from serving.repository import ModelRepository

_SERVED = "served"


@dataclass(frozen=True)
class MonitorRequest:
    """What the user asked for.

    Attributes:
        workspace: The workspace's directory.
        release: Id, beginning, alias or directory; `served` for what serves, or else the champion.
        days: Length of the window, which ends now.
        settings: The limits.
        log: Directory of the query log; None for that of the workspace.
        out: Directory of the report; None for one in the workspace.
        textfile: Of the Prometheus metrics; None for one in the workspace.
        tracking_uri: MLflow; None for SQLite inside the workspace.
    """

    workspace: Path
    settings: MonitorConfig
    release: str = _SERVED
    days: float = 7.0
    log: Path | None = None
    out: Path | None = None
    textfile: Path | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Look:
    """What was seen, and where it is written down."""

    report: MonitorReport
    release: Release
    workspace: Path
    out: Path
    textfile: Path


def look(request: MonitorRequest) -> Look:
    """Looks at the query log once.

    Raises:
        MmrError: There is no such workspace, release or log, or the release is damaged.
    """
    workspace = Workspace.open(request.workspace)
    release = _release(workspace, request)
    log = request.log or LivePlaces(workspace.serving).query_log
    if not log.is_dir():
        raise ArtifactError(
            f"There is no query log in {log}. It is written once a release is served and asked "
            "(`mmr serve`, `mmr deploy RELEASE`), unless serving/query-log.json sets share to 0."
        )
    now = datetime.now(UTC)
    out = request.out or workspace.monitor / "report"
    textfile = request.textfile or workspace.monitor / "mmr.prom"
    report = monitor(
        release=release,
        lines=_lines(log),
        # A record of this very second is as old as its beginning.
        window=Window(now - timedelta(days=request.days), now + timedelta(seconds=1)),
        settings=request.settings,
        out=out,
        textfile=textfile,
    )
    return Look(report, release, workspace.path, out, textfile)


def _release(workspace: Workspace, request: MonitorRequest) -> Release:
    name = request.release
    if name == _SERVED:
        active = ModelRepository(workspace.serving).active()
        name = active.release_id if active else CHAMPION

    def resolve(alias: str) -> str | None:
        from mmr.tracking import open_tracking  # MLflow takes seconds to load

        return open_tracking(request.tracking_uri or workspace.tracking_uri).resolve(alias)

    return find_release(workspace.releases, name, resolve=resolve)


def _lines(log: Path) -> Iterator[RawLine]:
    for line in read_lines(log):
        unfinished = line.growing and not line.data.endswith(b"\n")
        yield RawLine(f"{line.file}:{line.number}", line.data, unfinished)
