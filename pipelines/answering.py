"""A drift that is above its limit is answered by a training: once, and only if that can help."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from mmr.errors import ArtifactError, MmrError
from mmr.release.bundle import Release
from mmr.workspace import Workspace

LOCAL, KUBEFLOW = "this machine", "Kubeflow"


class RetrainRecord(BaseModel):
    """A line of `monitor/retrains.jsonl`.

    Attributes:
        when: UTC.
        release_id: The release whose drift is answered.
        measures: What was above its limit.
        source: Feed or dataset that is trained on.
        where: Who trains.
        state: `started` comes first; the end of a training on this machine follows.
        detail: Id of the run on Kubeflow, or what came of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: datetime
    release_id: str
    measures: list[str]
    source: str
    where: str
    state: Literal["started", "submitted", "finished", "failed"]
    detail: str = ""


@dataclass(frozen=True)
class Breach:
    """What is to be answered.

    Attributes:
        release: The release whose drift it is.
        measures: What is above its limit.
        source: Feed or dataset to train on.
        revision: Hash of its content; None where it lies inside a cluster.
    """

    release: Release
    measures: list[str]
    source: str
    revision: str | None


class RetrainLedger:
    """Remembers which breaches were answered.

    Args:
        workspace: Where releases, runs and the ledger lie.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path = workspace.monitor / "retrains.jsonl"
        self._lock = FileLock(workspace.monitor / "retrain.lock", timeout=0)

    def answer(
        self, breach: Breach, *, where: str, pause: timedelta, train: Callable[[], str]
    ) -> str | None:
        """Starts a training unless the breach is answered already.

        Args:
            breach: What is to be answered.
            where: Who trains.
            pause: How long an answer counts.
            train: Starts it; on this machine it returns when it has ended. Returns what came of it.

        Returns:
            Why there is no need; None where it was started.

        Raises:
            ArtifactError: Another process is about to answer.
            MmrError: The training failed; it is not repeated before the pause is over.
        """
        self._workspace.monitor.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:
                reason = self.reason_not_to(breach, pause=pause)
                if reason is None:
                    self._train(breach, where, train)
                return reason
        except Timeout as error:
            raise ArtifactError(
                f"Another `mmr monitor --retrain` works in {self._workspace.path}. Wait for it."
            ) from error

    def reason_not_to(self, breach: Breach, *, pause: timedelta) -> str | None:
        """Why a training would be one too many; None where it is due."""
        since = datetime.now(UTC) - pause
        reasons = (
            self._answered(breach, since),
            self._newer_release(breach, since),
            self._same_data(breach),
        )
        return next(filter(None, reasons), None)

    def records(self) -> list[RetrainRecord]:
        """What was started, oldest first; a line that a kill cut short is passed over."""
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        found = []
        for line in lines:
            try:
                found.append(RetrainRecord.model_validate_json(line))
            except ValidationError:
                continue
        return found

    def _train(self, breach: Breach, where: str, train: Callable[[], str]) -> None:
        """On record before it starts: a training that is killed is not started again at once."""
        self._write(breach, where, "started", "")
        try:
            detail = train()
        except MmrError as error:
            self._write(breach, where, "failed", str(error))
            raise
        self._write(breach, where, "finished" if where == LOCAL else "submitted", detail)

    def _write(
        self,
        breach: Breach,
        where: str,
        state: Literal["started", "submitted", "finished", "failed"],
        detail: str,
    ) -> None:
        record = RetrainRecord(
            when=datetime.now(UTC),
            release_id=breach.release.release_id,
            measures=breach.measures,
            source=breach.source,
            where=where,
            state=state,
            detail=detail[:500],
        )
        with self._path.open("ab") as file:
            file.write(b"\n" * self._is_cut_short() + record.model_dump_json().encode() + b"\n")

    def _is_cut_short(self) -> bool:
        data = self._path.read_bytes() if self._path.is_file() else b""
        return bool(data) and not data.endswith(b"\n")

    def _answered(self, breach: Breach, since: datetime) -> str | None:
        for record in reversed(self.records()):
            if record.release_id == breach.release.release_id and record.when > since:
                said = f" ({record.detail})" if record.detail else ""
                return (
                    f"a training was started for release {record.release_id} already, on "
                    f"{record.where}; {record.state} {record.when:%Y-%m-%d %H:%M} UTC{said}"
                )
        return None

    def _newer_release(self, breach: Breach, since: datetime) -> str | None:
        """A refresh has no new encoder, so it is no answer."""
        made = _moment(breach.release)
        for release in self._releases():
            if release.manifest.parent_release is None and _moment(release) > max(made, since):
                return (
                    f"release {release.release_id} was trained after it, on "
                    f"{release.manifest.created_at}: `mmr diff {breach.release.release_id} "
                    f"{release.release_id}`, then `mmr deploy` or wait"
                )
        return None

    def _releases(self) -> Iterator[Release]:
        for path in sorted(self._workspace.releases.glob("[!.]*"), reverse=True):
            try:
                yield Release.open(path)
            except MmrError:  # `mmr doctor` names it
                continue

    def _same_data(self, breach: Breach) -> str | None:
        if breach.revision is None:
            return None
        for file in sorted(self._workspace.runs.glob("*/summary.json"), reverse=True):
            try:
                run = json.loads(file.read_text(encoding="utf-8"))
                if run["source_revision"] == breach.revision:
                    return (
                        f"{breach.source} is what was trained on already ({run['finished_at']}, "
                        f"decision {run['gate']['decision']}): the same data gives the same "
                        "model. Give a feed with newer queries and judgements"
                    )
            except (OSError, ValueError, KeyError, TypeError):  # of another version of mmr
                continue
        return None


def _moment(release: Release) -> datetime:
    made = datetime.fromisoformat(release.manifest.created_at)
    return made if made.tzinfo else made.replace(tzinfo=UTC)
