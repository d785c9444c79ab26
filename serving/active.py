"""`active.json` in a workspace: the version that serves, and the highest number ever given."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mmr.atomic import write_json
from mmr.errors import ServingError


@dataclass(frozen=True)
class ActiveVersion:
    """What serves: a release, and the Triton version number that it was given."""

    version: int
    release_id: str


class ActiveRecord:
    """The record by which a restarted server loads exactly what served before.

    The highest number ever given stays on it: a number withdrawn is never given again, because
    clients may have seen it.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self._path = serving / "active.json"

    def read(self) -> ActiveVersion | None:
        """The version that serves, or None before the first deployment.

        Raises:
            ServingError: The record is damaged.
        """
        known = self._read()
        return known and known[0]

    def highest_version(self) -> int:
        """The highest number on record; 0 before the first deployment."""
        known = self._read()
        return known[1] if known else 0

    def write(self, active: ActiveVersion, *, highest: int) -> None:
        """Replaces the record; `highest` is at least the active version itself."""
        write_json(
            self._path,
            {
                "format_version": 1,
                **asdict(active),
                "highest_version": max(highest, active.version),
            },
        )

    def remember(self, version: int) -> None:
        """Keeps a number on record that was never the active one."""
        known = self._read()
        if known and version > known[1]:
            self.write(known[0], highest=version)

    def remove(self) -> None:
        """Forgets what served: nothing does."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> tuple[ActiveVersion, int] | None:
        if not self._path.is_file():
            return None
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            active = ActiveVersion(int(record["version"]), str(record["release_id"]))
            return active, int(record.get("highest_version", active.version))
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(
                f"{self._path} is damaged. Remove it and deploy a release: `mmr deploy RELEASE`."
            ) from error
