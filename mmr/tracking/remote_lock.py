"""A lock inside the tracking store, for promoters on different machines.

MLflow moves an alias without asking what it was, and has no lock. It does number the versions of a
registered model, in its database, without gaps or repeats (a unique key; it tries again when two
come at once). That is a queue: whoever wants to change the champion draws a ticket, a version of
the model `mmr-retriever-lock`, and waits until no lower ticket is open. Who draws number n sees all
lower ones, so of any two promoters exactly one goes first, and the other then finds the new
champion and is refused.

A ticket of a process that died is passed over: at once where it was drawn on this machine, whose
file lock the new promoter holds; after `LEASE_S` otherwise, by the store's own clock. So that a
slow holder cannot act after that, it must write within half the lease (`Lease.check`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mmr.errors import TrackingError
from mmr.tracking.connection import LOCK_TIMEOUT_S
from mmr.tracking.mlflow_versions import or_none

LOCK_MODEL = "mmr-retriever-lock"
LEASE_S = 120.0
_POLL_S = 0.2
_SOURCE = "mmr://mmr/lock"  # MLflow wants a place for every version; nothing is kept there


@dataclass(frozen=True)
class Lease:
    """The time for which changes may be made.

    Attributes:
        until: By `time.monotonic`; None for as long as the process lives.
    """

    until: float | None

    def check(self) -> None:
        """To be called right before each change.

        Raises:
            TrackingError: The time is over: another promoter may have taken its turn.
        """
        if self.until is not None and time.monotonic() > self.until:
            raise TrackingError(
                f"The tracking store took more than {LEASE_S / 2:.0f} s over a promotion, so the "
                "right to change it is over and nothing more was changed. See `mmr doctor`, and "
                "run again when the store answers faster."
            )


class RemoteLock:
    """Draws and honours tickets.

    Args:
        client: Of the store.
        machine: Where this machine notes its own name; beside its file lock.
    """

    def __init__(self, client: MlflowClient, machine: Path) -> None:
        self._client = client
        self._machine = machine

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Holds the lock; the caller holds this machine's file lock already.

        Raises:
            TrackingError: Another machine holds it for too long.
        """
        begin = time.monotonic()
        ticket = self._draw()
        try:
            self._wait_for_turn(ticket, begin)
            yield Lease(begin + LEASE_S / 2)
        finally:
            with suppress(MlflowException):  # the store is gone: the lease will end it
                self._close(ticket)

    def _draw(self) -> Any:
        tags = {"machine": self._name()}
        try:
            return self._client.create_model_version(LOCK_MODEL, source=_SOURCE, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        with suppress(MlflowException):  # another was faster
            self._client.create_registered_model(LOCK_MODEL)
        return self._client.create_model_version(LOCK_MODEL, source=_SOURCE, tags=tags)

    def _wait_for_turn(self, ticket: Any, begin: float) -> None:
        while True:
            waited = time.monotonic() - begin
            before = [other for other in self._open() if int(other.version) < int(ticket.version)]
            alive = [other for other in before if not self._is_dead(other, ticket, waited)]
            for other in before:
                if other not in alive:
                    self._close(other)
            if not alive:
                return
            if waited > LOCK_TIMEOUT_S:
                age = (ticket.creation_timestamp - alive[0].creation_timestamp) / 1000 + waited
                raise TrackingError(
                    f"A promotion on another machine has been going on for {age:.0f} s. Wait for "
                    f"it, then run again; if that process died, its right ends after {LEASE_S:.0f}"
                    " s."
                )
            time.sleep(_POLL_S)

    def _is_dead(self, other: Any, ticket: Any, waited: float) -> bool:
        age_s = (ticket.creation_timestamp - other.creation_timestamp) / 1000 + waited
        return bool(other.tags.get("machine") == ticket.tags["machine"] or age_s > LEASE_S)

    def _open(self) -> list[Any]:
        return list(self._client.search_model_versions(f"name='{LOCK_MODEL}'", max_results=500))

    def _close(self, ticket: Any) -> None:
        or_none(lambda: self._client.delete_model_version(LOCK_MODEL, ticket.version))

    def _name(self) -> str:
        if not self._machine.is_file():
            self._machine.write_text(uuid.uuid4().hex, encoding="utf-8")
        return self._machine.read_text(encoding="utf-8")
