"""What mmr asks of an experiment tracker and of a release registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

CHAMPION = "champion"
PREVIOUS = "previous"
CANDIDATE = "candidate"
DELETED = "deleted"  # the tag of a release whose files were removed; its value is when

Parameter = str | int | float | bool
Action = Literal["promote", "rollback"]


class Tracker(Protocol):
    """Remembers runs: what went in, what came out."""

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
        """Logs one finished run and returns its id.

        Args:
            name: For people.
            params: Settings of the run.
            metrics: Final figures.
            history: One row per epoch: numbers, and optionally `stage` and `epoch`; each number
                becomes a curve named `stage/key`.
            tags: Lineage: dataset hash, revisions.
            artifacts: Directory whose files are kept with the run.
        """


@dataclass(frozen=True)
class RegisteredRelease:
    """A release as the registry knows it.

    Attributes:
        version: The registry's own number, ascending.
        aliases: `champion`, `previous`, `candidate`.
        run_id: The run that it came from.
        created_at: UTC, ISO 8601.
    """

    release_id: str
    version: int
    aliases: tuple[str, ...]
    run_id: str | None
    created_at: str
    tags: Mapping[str, str]

    @property
    def deleted(self) -> bool:
        """Whether its files were removed on purpose."""
        return DELETED in self.tags


@dataclass(frozen=True)
class AuditRecord:
    """One move of `champion`: who, when, from, to, why.

    Attributes:
        when: UTC, ISO 8601.
        release_id: The new champion.
        replaced: The champion before; None for the first.
        finished: False where the process died between announcing the move and making it.
    """

    when: str
    action: Action
    release_id: str
    replaced: str | None
    why: str
    who: str
    finished: bool = True


class Registry(Protocol):
    """Knows every release and which of them is the champion.

    Attributes:
        mirror: File that repeats every finished move of the champion as a line of JSON; None
            where there is none.
    """

    mirror: Path | None

    def register(
        self, *, release_id: str, release_dir: Path, run_id: str | None, tags: Mapping[str, str]
    ) -> int:
        """Makes a release known and returns its version; the same release again is a no-op.

        One that was marked as deleted is there again.
        """

    def resolve(self, alias: str) -> str | None:
        """The release that an alias names, or None."""

    def set_alias(self, alias: str, release_id: str) -> None:
        """Points an alias at a registered release. `champion` moves by `promote` alone."""

    def aliases(self, release_id: str) -> list[str]:
        """The aliases of a release, sorted."""

    def releases(self) -> list[RegisteredRelease]:
        """Every registered release, newest first."""

    def promote(
        self,
        release_id: str,
        *,
        expected: str | None,
        why: str,
        who: str,
        action: Action = "promote",
    ) -> AuditRecord:
        """Makes a release the champion and the old champion `previous`; writes an audit record.

        A release that is the champion already stays so, and nothing else changes: a killed
        promotion can be run again.

        Args:
            release_id: A registered release.
            expected: The champion that the caller saw when deciding; None for none yet.
            why: For the record.
            who: For the record.
            action: For the record.

        Raises:
            TrackingError: Another promotion came first, or the release is not registered.
        """

    def mark_deleted(self, release_id: str) -> None:
        """Records that the files of a release are removed; it can no longer be promoted.

        Raises:
            TrackingError: An alias names the release, or it is not registered.
        """

    def history(self) -> list[AuditRecord]:
        """Every move of the champion, newest first."""

    def latest(self) -> AuditRecord | None:
        """The newest move of the champion; None before the first."""
