"""A registry that answers what an alias names before MLflow is imported.

Importing MLflow and opening its store takes about two seconds of processor time. A rollback must
not wait for that while a wrong release answers customers: it needs two aliases to begin with, and
moves the champion at the end, where MLflow checks under a lock that they have not changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr.tracking.audit import record_from_tags
from mmr.tracking.connection import database_path
from mmr.tracking.protocols import Action, AuditRecord, RegisteredRelease, Registry

if TYPE_CHECKING:
    from mmr.tracking.mlflow_tracking import MlflowTracking

_BUSY_TIMEOUT_S = 1.0
_ALIASES = """
    SELECT alias.alias, tag.value
    FROM registered_model_aliases AS alias
    JOIN model_version_tags AS tag
        ON tag.name = alias.name AND tag.version = alias.version AND tag.key = 'release_id'
    WHERE alias.name = 'mmr-retriever'
"""
_LATEST_MOVE = """
    SELECT tag.key, tag.value, move.status
    FROM tags AS tag
    JOIN (
        SELECT run.run_uuid, run.status
        FROM runs AS run
        JOIN experiments AS experiment ON experiment.experiment_id = run.experiment_id
        WHERE experiment.name = 'mmr-audit' AND run.lifecycle_stage = 'active'
        ORDER BY run.start_time DESC LIMIT 1
    ) AS move ON move.run_uuid = tag.run_uuid
"""


def peek_aliases(uri: str) -> dict[str, str] | None:
    """Alias to release id, read from the tables of a SQLite store; None if that cannot be done.

    Args:
        uri: The store; of any other kind it cannot be done.
    """
    rows = _peek(uri, _ALIASES)
    return None if rows is None else {str(alias): str(release) for alias, release in rows}


def peek_latest(uri: str) -> AuditRecord | None:
    """The newest move of the champion, read likewise; None if there is none, or it cannot be."""
    rows = _peek(uri, _LATEST_MOVE)
    if not rows:
        return None
    tags = {str(key): str(value) for key, value, _ in rows}
    return record_from_tags(tags, finished=rows[0][2] == "FINISHED")


def _peek(uri: str, query: str) -> list[tuple[Any, ...]] | None:
    path = database_path(uri)
    if path is None or not path.is_file():
        return None
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return None  # busy, or tables of another MLflow: the store itself will be asked


class DeferredTracking(Registry):
    """The registry of a store, opened when it is first asked for more than an alias.

    Args:
        uri: As for `open_tracking`.
        audit_file: As for `open_tracking`.
    """

    def __init__(self, uri: str, *, audit_file: Path | None = None) -> None:
        self._uri = uri
        self.mirror = audit_file
        self._opened: MlflowTracking | None = None

    def _store(self) -> MlflowTracking:
        if self._opened is None:
            from mmr import tracking

            self._opened = tracking.open_tracking(self._uri, audit_file=self.mirror)
        return self._opened

    def resolve(self, alias: str) -> str | None:
        """See `Registry.resolve`."""
        peeked = peek_aliases(self._uri) if self._opened is None else None
        return self._store().resolve(alias) if peeked is None else peeked.get(alias)

    def register(
        self, *, release_id: str, release_dir: Path, run_id: str | None, tags: Mapping[str, str]
    ) -> int:
        """See `Registry.register`."""
        return self._store().register(
            release_id=release_id, release_dir=release_dir, run_id=run_id, tags=tags
        )

    def set_alias(self, alias: str, release_id: str) -> None:
        """See `Registry.set_alias`."""
        self._store().set_alias(alias, release_id)

    def aliases(self, release_id: str) -> list[str]:
        """See `Registry.aliases`."""
        return self._store().aliases(release_id)

    def releases(self) -> list[RegisteredRelease]:
        """See `Registry.releases`."""
        return self._store().releases()

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
        return self._store().promote(release_id, expected=expected, why=why, who=who, action=action)

    def mark_deleted(self, release_id: str) -> None:
        """See `Registry.mark_deleted`."""
        self._store().mark_deleted(release_id)

    def latest(self) -> AuditRecord | None:
        """See `Registry.latest`."""
        peeked = peek_latest(self._uri) if self._opened is None else None
        return peeked or self._store().latest()

    def history(self) -> list[AuditRecord]:
        """See `Registry.history`."""
        return self._store().history()
