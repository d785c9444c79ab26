"""The stage `find_champion`: the release in production, and the settings that others inherit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from mmr.config.data import PrepareConfig, ValidationConfig
from mmr.config.index import IndexConfig
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.release.bundle import SETTINGS, Release
from mmr.tracking.protocols import CHAMPION

if TYPE_CHECKING:
    from mmr.tracking import Registry

_NOT_NEEDED = ("train_judged", "validation_judged")  # nothing is trained


class ChampionParameters(NamedTuple):
    """What later steps read, as pipelines pass it: a path, and settings as JSON."""

    release: str
    prepare_settings: str
    validation_settings: str
    index_settings: str
    release_settings: str


@dataclass(frozen=True)
class Champion:
    """The release in production.

    Attributes:
        release: Its directory; None where nothing was promoted yet.
        settings: All settings of the run that made it.
        prepare: How its dataset was prepared; new products must be prepared alike.
        validation: How its dataset was validated; judged queries are no longer demanded.
        index: How its index was built.
    """

    release: Path | None
    settings: dict[str, Any]
    prepare: PrepareConfig
    validation: ValidationConfig
    index: IndexConfig

    @property
    def release_id(self) -> str:
        """Its id, or `none`."""
        return self.release.name if self.release else "none"

    def as_parameters(self) -> ChampionParameters:
        """The same as text; `release` is empty where there is none."""
        return ChampionParameters(
            release=str(self.release or ""),
            prepare_settings=self.prepare.model_dump_json(),
            validation_settings=self.validation.model_dump_json(),
            index_settings=self.index.model_dump_json(),
            release_settings=json.dumps(self.settings),
        )


def find_champion(*, releases: Path, registry: Registry, required: bool) -> Champion:
    """Asks the registry for the champion and reads its settings.

    Args:
        releases: Where releases lie.
        registry: Names the champion.
        required: Whether its absence is an error.

    Raises:
        ArtifactError: There is none, or its directory is gone.
        CorruptArtifactError: Its settings cannot be read.
    """
    release_id = registry.resolve(CHAMPION)
    if release_id is None:
        if required:
            raise ArtifactError(
                f"No release of {releases} is champion, so there is nothing to refresh. `mmr run` "
                "trains and deploys the first one; `mmr promote` makes a registered one champion."
            )
        return _champion(None, {})
    directory = releases / release_id
    if not directory.is_dir():
        raise ArtifactError(
            f"The registry names release {release_id} as champion, but {directory} is gone. "
            "Restore it, or use the workspace that holds it."
        )
    release = Release.open(directory)
    release.verify(SETTINGS)
    return _champion(directory, release.settings())


def _champion(directory: Path | None, settings: dict[str, Any]) -> Champion:
    try:
        validation = ValidationConfig.model_validate(settings.get("validation", {}))
        severity = dict.fromkeys(_NOT_NEEDED, "warning") | validation.severity
        return Champion(
            release=directory,
            settings=settings,
            prepare=PrepareConfig.model_validate(settings.get("prepare", {})),
            validation=validation.model_copy(update={"severity": severity}),
            index=IndexConfig.model_validate(settings.get("index", {})),
        )
    except ValidationError as error:
        raise CorruptArtifactError(
            f"The settings of {directory} do not fit this mmr ({error}). Refresh with the mmr that "
            "made the release, or train a new one."
        ) from error
