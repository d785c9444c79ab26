"""What the commands have set, as the model process sees it: read again when a file changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmr.errors import ServingError
from serving.live.places import LivePlaces
from serving.live.settings import QueryLogSettings, Trial

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Settled:
    """One consistent view.

    Attributes:
        query_log: What is logged.
        trial: The candidate that sees queries; None if there is none, if it was rolled back, or
            if it is to be compared with another release than the one that serves here.
    """

    query_log: QueryLogSettings
    trial: Trial | None


class Switches:
    """Holds the view; replaced as a whole, so that it can be read without a lock.

    Args:
        places: Where the files lie.
        release_id: The release of this model process.
        warn: Told about a file that cannot be read, and about a trial that was rolled back.
    """

    def __init__(self, places: LivePlaces, *, release_id: str, warn: Warn) -> None:
        self._places, self._release_id, self._warn = places, release_id, warn
        self._stamps: object = None
        self.now = Settled(QueryLogSettings(), None)
        self.refresh()

    def refresh(self) -> None:
        """Reads the files if one has changed; what cannot be read stays as it was."""
        stamps = self._places.stamps()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self.now = Settled(self._places.read_query_log_settings(), self._trial())
        except ServingError as error:
            self._warn(str(error))

    def _trial(self) -> Trial | None:
        trial = self._places.read_trial()
        if trial is None or trial.live_release_id != self._release_id:
            return None
        return None if self._places.read_trip(trial) else trial

    def trip(self, trial: Trial, reason: str) -> None:
        """Rolls a trial back: at once in this process, within a second in others, and for good."""
        now = self.now
        if now.trial is None or now.trial.trial_id != trial.trial_id:
            return  # another thread or a command was faster
        self.now = Settled(now.query_log, None)
        self._warn(f"The trial of release {trial.release_id} is rolled back: {reason}")
        try:
            self._places.write_trip(trial, reason)
        except OSError as error:  # this process has stopped it; only others do not know
            self._warn(f"The rollback of the trial cannot be recorded: {error}")
