"""What a workspace remembers of its server from one command to the next."""

import json
from pathlib import Path

from pydantic import ValidationError

from mmr.atomic import write_json, write_text
from mmr.errors import ServingError
from serving.settings import ModelSettings

_VERIFIED_KEPT = 100


class KeptRecords:
    """`verified.json`, `warm.json` and `models.json` in a workspace's serving directory.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self._verified = serving / "verified.json"
        self._warm = serving / "warm.json"
        self._model_settings = serving / "models.json"

    def was_verified(self, release_id: str) -> bool:
        """Whether a release passed its golden queries in this workspace before."""
        return release_id in self._verified_ids()

    def remember_verified(self, release_id: str) -> None:
        """Records that a release passed its golden queries."""
        known = [other for other in self._verified_ids() if other != release_id]
        ids = [*known, release_id][-_VERIFIED_KEPT:]
        write_json(self._verified, {"format_version": 1, "release_ids": ids})

    def _verified_ids(self) -> list[str]:
        try:
            return [str(known) for known in json.loads(self._verified.read_text())["release_ids"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # then it is verified once more

    def keep_warm(self, *, until: float) -> None:
        """Sets when the versions older than the active one are unloaded, in epoch seconds."""
        write_json(self._warm, {"format_version": 1, "until": until})

    def warm_until(self) -> float | None:
        """That time; None once they were unloaded."""
        try:
            return float(json.loads(self._warm.read_text(encoding="utf-8"))["until"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return 0.0  # nothing needs them but a quick rollback

    def forget_warm(self) -> None:
        """Records that they were unloaded."""
        self._warm.unlink(missing_ok=True)

    def model_settings(self) -> ModelSettings:
        """What was last chosen for this workspace, or else the defaults.

        Raises:
            ServingError: The file cannot be read.
        """
        if not self._model_settings.is_file():
            return ModelSettings()
        try:
            return ModelSettings.model_validate_json(self._model_settings.read_bytes())
        except ValidationError as error:
            raise ServingError(
                f"{self._model_settings} is damaged. Remove it, and choose again with `mmr deploy "
                "RELEASE --threads N --instances N`."
            ) from error

    def keep_model_settings(self, settings: ModelSettings) -> None:
        """Remembers a choice for later deployments."""
        write_text(self._model_settings, settings.model_dump_json(indent=2) + "\n")
