"""A tracker and registry that live as long as the process: for tests and for trying things out."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmr.tracking.champion import (
    check_alias_may_be_set,
    check_expected,
    check_not_deleted,
    check_not_named,
    not_registered,
    now,
)
from mmr.tracking.protocols import (
    CANDIDATE,
    CHAMPION,
    DELETED,
    PREVIOUS,
    Action,
    AuditRecord,
    Parameter,
    RegisteredRelease,
)


@dataclass(frozen=True)
class LoggedRun:
    """A run as it was logged."""

    name: str
    params: dict[str, Parameter]
    metrics: dict[str, float]
    history: list[dict[str, object]]
    tags: dict[str, str]
    artifacts: Path | None


class InMemoryTracking:
    """Implements `Tracker` and `Registry`; safe to use from several threads."""

    mirror: Path | None = None

    def __init__(self) -> None:
        self.runs: dict[str, LoggedRun] = {}
        self._releases: dict[str, RegisteredRelease] = {}
        self._aliases: dict[str, str] = {}
        self._audit: list[AuditRecord] = []
        self._lock = threading.RLock()

    def log_run(
        self,
        *,
        name: str,
        params: Mapping[str, Parameter],
        metrics: Mapping[str, float],
        history: Sequence[Mapping[str, object]] = (),
        tags: Mapping[str, str] | None = None,
        artifacts: Path | None = None,
    ) -> str:
        """Keeps a run in `runs`; see `Tracker.log_run`."""
        run_id = uuid.uuid4().hex
        self.runs[run_id] = LoggedRun(
            name=name,
            params=dict(params),
            metrics=dict(metrics),
            history=[dict(row) for row in history],
            tags=dict(tags or {}),
            artifacts=artifacts,
        )
        return run_id

    def register(
        self, *, release_id: str, release_dir: Path, run_id: str | None, tags: Mapping[str, str]
    ) -> int:
        """See `Registry.register`."""
        with self._lock:
            if release_id not in self._releases:
                self._releases[release_id] = RegisteredRelease(
                    release_id=release_id,
                    version=len(self._releases) + 1,
                    aliases=(),
                    run_id=run_id,
                    created_at=now(),
                    tags={**tags, "release_id": release_id, "release_dir": str(release_dir)},
                )
            self._tag(release_id, {DELETED: None})
            return self._releases[release_id].version

    def resolve(self, alias: str) -> str | None:
        """See `Registry.resolve`."""
        return self._aliases.get(alias)

    def set_alias(self, alias: str, release_id: str) -> None:
        """See `Registry.set_alias`."""
        check_alias_may_be_set(alias)
        with self._lock:
            check_not_deleted(release_id, self._known(release_id).tags)
            self._aliases[alias] = release_id

    def aliases(self, release_id: str) -> list[str]:
        """See `Registry.aliases`."""
        return sorted(alias for alias, named in self._aliases.items() if named == release_id)

    def releases(self) -> list[RegisteredRelease]:
        """See `Registry.releases`."""
        with self._lock:
            return [
                replace(release, aliases=tuple(self.aliases(release.release_id)))
                for release in reversed(self._releases.values())
            ]

    def promote(
        self,
        release_id: str,
        *,
        expected: str | None,
        why: str,
        who: str,
        action: Action = "promote",
    ) -> AuditRecord:
        """See `Registry.promote`."""
        with self._lock:
            check_not_deleted(release_id, self._known(release_id).tags)
            current = self.resolve(CHAMPION)
            if current == release_id:
                return next(record for record in self.history() if record.release_id == release_id)
            check_expected(release_id, current=current, expected=expected)
            record = AuditRecord(
                when=now(), action=action, release_id=release_id, replaced=current, why=why, who=who
            )
            self._audit.append(record)
            if current is not None:
                self._aliases[PREVIOUS] = current
            self._aliases[CHAMPION] = release_id
            if self.resolve(CANDIDATE) == release_id:
                del self._aliases[CANDIDATE]
            return record

    def history(self) -> list[AuditRecord]:
        """See `Registry.history`."""
        return self._audit[::-1]

    def latest(self) -> AuditRecord | None:
        """See `Registry.latest`."""
        return self._audit[-1] if self._audit else None

    def mark_deleted(self, release_id: str) -> None:
        """See `Registry.mark_deleted`."""
        with self._lock:
            self._known(release_id)
            check_not_named(release_id, self.aliases(release_id))
            self._tag(release_id, {DELETED: now()})

    def _known(self, release_id: str) -> RegisteredRelease:
        if release_id not in self._releases:
            raise not_registered(release_id)
        return self._releases[release_id]

    def _tag(self, release_id: str, changes: Mapping[str, str | None]) -> None:
        release = self._releases[release_id]
        tags = {name: value for name, value in {**release.tags, **changes}.items() if value}
        self._releases[release_id] = replace(release, tags=tags)
