"""Audit records as runs of an MLflow experiment, mirrored as lines of JSON.

A run is opened before the champion moves and finished after: one left open tells of a process that
died in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from mmr.tracking.audit import append_record
from mmr.tracking.champion import now
from mmr.tracking.protocols import Action, AuditRecord

_PAGE = 500
_TEXT_LENGTH = 4000


class AuditTrail:
    """Every move of the champion.

    Args:
        client: Of the store.
        experiment_id: The experiment that holds the records.
        mirror: File of JSON lines; none when None.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, mirror: Path | None) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._mirror = mirror

    def announce(
        self, release_id: str, *, action: Action, replaced: str | None, why: str, who: str
    ) -> str:
        """Opens the record of a move that is about to be made; returns its run id."""
        tags = {
            "when": now(),
            "action": action,
            "release_id": release_id,
            "replaced": replaced or "",
            "why": why[:_TEXT_LENGTH],
            "who": who[:_TEXT_LENGTH],
        }
        run = self._client.create_run(
            self._experiment_id, tags=tags, run_name=f"{action} {release_id}"
        )
        return str(run.info.run_id)

    def finish(self, run_id: str) -> AuditRecord:
        """Closes the record of a move that has been made."""
        self._client.set_terminated(run_id, "FINISHED")
        record = record_of(self._client.get_run(run_id))
        if self._mirror is not None:
            append_record(self._mirror, record)
        return record

    def runs(self) -> Iterator[Any]:
        """The runs that hold the records, newest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                max_results=_PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


def record_of(run: Any) -> AuditRecord:
    """Reads the record that a run holds."""
    tags = run.data.tags
    return AuditRecord(
        when=tags["when"],
        action=tags["action"],
        release_id=tags["release_id"],
        replaced=tags["replaced"] or None,
        why=tags["why"],
        who=tags["who"],
        finished=run.info.status == "FINISHED",
    )
