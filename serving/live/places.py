"""Where the live model's settings and records lie below a workspace's `serving` directory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mmr.atomic import write_text
from mmr.errors import ServingError
from serving.live.settings import QueryLogSettings, Trial, TripRecord

HOME_VARIABLE = "MMR_SERVING_HOME"
"""Names the `serving` directory to the model process; without it, it logs and tries nothing."""

_MAX_BYTES = 1 << 16
_MAX_REASON = 500
_Record = TypeVar("_Record", bound=BaseModel)


class LivePlaces:
    """Reads and writes those files.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self.query_log = serving / "query-log"
        self.trial = serving / "trial"
        self.shadow_log = self.trial / "shadow"
        self.canary_log = self.trial / "canary"
        self._query_log_settings = serving / "query-log.json"
        self._trial = self.trial / "trial.json"
        self._tripped = self.trial / "tripped.json"

    def read_query_log_settings(self) -> QueryLogSettings:
        """What was chosen, or the defaults.

        Raises:
            ServingError: The file cannot be read.
        """
        return _read(self._query_log_settings, QueryLogSettings) or QueryLogSettings()

    def write_query_log_settings(self, settings: QueryLogSettings) -> None:
        """Takes effect within a second, without a restart."""
        _write(self._query_log_settings, settings)

    def read_trial(self) -> Trial | None:
        """The trial under way, tripped or not; None if there is none.

        Raises:
            ServingError: The file cannot be read.
        """
        return _read(self._trial, Trial)

    def write_trial(self, trial: Trial) -> None:
        """Starts a trial, or changes its shares; takes effect within a second."""
        _write(self._trial, trial)

    def remove_trial(self) -> None:
        """Ends the trial; its logs stay."""
        self._trial.unlink(missing_ok=True)

    def read_trip(self, trial: Trial) -> TripRecord | None:
        """Why this trial was rolled back; None if it was not."""
        record = _read(self._tripped, TripRecord)
        return record if record and record.trial_id == trial.trial_id else None

    def write_trip(self, trial: Trial, reason: str) -> None:
        """Rolls a trial back; it stays so over restarts."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        trip = TripRecord(trial_id=trial.trial_id, reason=reason[:_MAX_REASON], when=when)
        _write(self._tripped, trip)

    def stamps(self) -> tuple[tuple[int, int] | None, ...]:
        """Changes when one of the three files changes."""
        return tuple(
            _stamp(path) for path in (self._query_log_settings, self._trial, self._tripped)
        )


def _read(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ServingError(f"{path} is larger than {_MAX_BYTES} bytes. Remove it.")
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ServingError(
            f"{path} cannot be read ({type(error).__name__}). Remove it; the command that wrote it "
            "writes it anew."
        ) from error


def _write(path: Path, record: BaseModel) -> None:
    write_text(path, record.model_dump_json(indent=2) + "\n")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
