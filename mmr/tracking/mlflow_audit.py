"""Audit records as runs of an MLflow experiment, mirrored as lines of JSON.

A run is opened before the champion moves and finished after: one left open tells of a process that
died in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from mmr.tracking.audit import append_record, record_from_tags
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
            self._experiment_id,
            start_time=self._next_moment(),
            tags=tags,
            run_name=f"{action} {release_id}",
        )
        return str(run.info.run_id)

    def latest_of(self, release_id: str) -> str | None:
        """The run of the newest record of a release, finished or not."""
        of_release = (run for run in self.runs() if run.data.tags.get("release_id") == release_id)
        run = next(of_release, None)
        return str(run.info.run_id) if run else None

    def read(self, run_id: str) -> AuditRecord:
        """The record that a run holds."""
        return record_of(self._client.get_run(run_id))

    def interrupted(self, release_id: str, *, replaced: str | None) -> str | None:
        """The run of the newest record, if it announces this very move and was left open."""
        newest = self.newest()
        if newest is None:
            return None
        record = record_of(newest)
        same = (record.release_id, record.replaced, record.finished) == (
            release_id,
            replaced,
            False,
        )
        return str(newest.info.run_id) if same else None

    def finish(self, run_id: str) -> AuditRecord:
        """Closes the record of a move that has been made."""
        self._client.set_terminated(run_id, "FINISHED")
        record = self.read(run_id)
        if self._mirror is not None:
            append_record(self._mirror, record)
        return record

    def _next_moment(self) -> int:
        """Now, or later: a clock that was set back must not put a record before an older one."""
        newest = self.newest()
        return max(int(time.time() * 1000), newest.info.start_time + 1 if newest else 0)

    def newest(self) -> Any:
        """The run that holds the newest record, or None."""
        found = self._client.search_runs(
            [self._experiment_id], max_results=1, order_by=["attributes.start_time DESC"]
        )
        return found[0] if found else None

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
    return record_from_tags(run.data.tags, finished=run.info.status == "FINISHED")
