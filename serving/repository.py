"""Triton's model repository in a workspace: versions appear whole, by rename, and never change.

```text
serving/
├── repository/                     what Triton sees
│   ├── search/                     and query_encoder, each:
│   │   ├── config.pbtxt
│   │   ├── warmup/query            sent through a version before it counts as ready
│   │   └── 7/                      version; both models share one number per release
│   │       ├── model.py
│   │       └── release/            hard links to the release's files
│   └── search_candidate/7/         only while release 7 is being verified
├── staging/                        versions being put together
├── verified.json                   releases that passed their golden queries here
└── active.json                     the version that serves
```
"""

import json
import os
import shutil
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from mmr.atomic import fsync_path, write_json, write_text
from mmr.errors import ServingError
from mmr.hashing import files_below
from serving.model_config import CANDIDATE_SUFFIX, MODELS, QUERY_ENCODER, SEARCH, model_config
from serving.settings import ModelSettings

_PARTS = {QUERY_ENCODER: ("query_encoder",), SEARCH: ("query_encoder", "index")}
_VERIFIED_KEPT = 100
_WARM_UP_QUERY = b"white wardrobe"
_MODEL_PY = '''"""Generated: Triton loads this file, everything else is in `serving.models`."""

import os
import sys

# Triton's stub starts Python isolated, so PYTHONPATH does not reach it by itself.
for _place in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    if _place and _place not in sys.path:
        sys.path.append(_place)

from serving.models.{model} import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class ActiveVersion:
    """What serves: a release, and the Triton version number that it was given."""

    version: int
    release_id: str


class ModelRepository:
    """The model repository below a workspace's serving directory.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self.path = serving / "repository"
        self._staging = serving / "staging"
        self._active = serving / "active.json"
        self._verified = serving / "verified.json"

    def create(self) -> None:
        """Makes the directories that Triton expects to find."""
        for model in MODELS:
            (self.path / model).mkdir(parents=True, exist_ok=True)

    def active(self) -> ActiveVersion | None:
        """The version that serves, or None before the first deployment.

        Raises:
            ServingError: `active.json` cannot be read.
        """
        record = self._record()
        return record and record[0]

    def _record(self) -> tuple[ActiveVersion, int] | None:
        """What serves, and the highest version number that was ever given."""
        if not self._active.is_file():
            return None
        try:
            record = json.loads(self._active.read_text(encoding="utf-8"))
            active = ActiveVersion(int(record["version"]), str(record["release_id"]))
            return active, int(record.get("highest_version", active.version))
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(
                f"{self._active} is damaged. Remove it and deploy a release: `mmr deploy RELEASE`."
            ) from error

    def set_active(self, active: ActiveVersion | None) -> None:
        """Records what serves; a restarted server loads exactly that.

        The highest number ever given stays on record: a number withdrawn is never given again.
        """
        if active is None:
            self._active.unlink(missing_ok=True)
        else:
            self._write_active(active, highest=max(self.next_version() - 1, active.version))

    def _write_active(self, active: ActiveVersion, *, highest: int) -> None:
        write_json(
            self._active, {"format_version": 1, **asdict(active), "highest_version": highest}
        )

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

    def versions(self, model: str) -> list[int]:
        """The version numbers of a model, ascending."""
        directory = self.path / model
        if not directory.is_dir():
            return []
        return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())

    def next_version(self) -> int:
        """A number above all that are there or were ever active."""
        record = self._record()
        taken = [version for model in MODELS for version in self.versions(model)]
        return 1 + max([record[1] if record else 0, *taken])

    def release_ids(self) -> dict[int, str]:
        """The release of every version that both models have, by version number."""
        whole = set.intersection(*(set(self.versions(model)) for model in MODELS))
        found = {}
        for version in sorted(whole):
            manifest = self.path / SEARCH / str(version) / "release" / "release.json"
            try:
                found[version] = str(json.loads(manifest.read_text(encoding="utf-8"))["release_id"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no version that anything should return to
        return found

    def version_of(self, release_id: str) -> int | None:
        """The newest version that holds a release, or None."""
        return max(
            (v for v, held in self.release_ids().items() if held == release_id), default=None
        )

    def add(
        self,
        release: Path,
        version: int,
        *,
        settings: ModelSettings,
        keep_versions: int,
        candidate: bool = False,
    ) -> tuple[str, ...]:
        """Stages one version of both models and moves it into Triton's view.

        Args:
            release: The release directory; its files are linked, or copied across file systems.
            version: The number that both models get.
            settings: Goes into `config.pbtxt`.
            keep_versions: Goes into `config.pbtxt`.
            candidate: Whether under the names that no client asks for.

        Returns:
            The names of the two models.
        """
        suffix = CANDIDATE_SUFFIX if candidate else ""
        for kind in MODELS:
            model = kind + suffix
            staged = self._staging / f"{model}-{version}"
            shutil.rmtree(staged, ignore_errors=True)
            _stage(release, staged, kind=kind)
            target = self.path / model
            target.mkdir(parents=True, exist_ok=True)
            self._write_config(model, model_config(model, settings, keep_versions=keep_versions))
            staged.rename(target / str(version))
            fsync_path(target)
        return tuple(kind + suffix for kind in MODELS)

    def _write_config(self, model: str, text: str) -> None:
        """Leaves an equal file alone: Triton reloads every version when the file's time changes."""
        path = self.path / model / "config.pbtxt"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            warmup = self.path / model / "warmup"
            warmup.mkdir(exist_ok=True)
            (warmup / "query").write_bytes(struct.pack("<I", len(_WARM_UP_QUERY)) + _WARM_UP_QUERY)
            write_text(path, text)

    def remove(self, version: int) -> None:
        """Takes a version of both models out of Triton's view, then deletes it.

        Clients may have seen its number, even if it never was the active one: it stays on record.
        """
        record = self._record()
        if record and version > record[1]:
            self._write_active(record[0], highest=version)
        for model in MODELS:
            self._discard(self.path / model / str(version))

    def remove_candidates(self) -> None:
        """Deletes the candidate models."""
        for model in MODELS:
            self._discard(self.path / (model + CANDIDATE_SUFFIX))

    def retire(self, *, keep: int) -> list[int]:
        """Deletes all but the newest `keep` versions and returns the numbers deleted."""
        retired = sorted({v for model in MODELS for v in self.versions(model)[:-keep]})
        for version in retired:
            self.remove(version)
        return retired

    def unactivated(self) -> list[int]:
        """Versions newer than the active one: a deployment was killed before its switch."""
        active = self.active()
        newest = active.version if active else 0
        return sorted({v for model in MODELS for v in self.versions(model) if v > newest})

    def remove_leftovers(self) -> None:
        """Deletes what a killed deployment left: staged, candidate and never activated versions."""
        shutil.rmtree(self._staging, ignore_errors=True)
        self.remove_candidates()
        for version in self.unactivated():
            self.remove(version)

    def _discard(self, path: Path) -> None:
        """Renames first, so that Triton never sees half of a version."""
        if path.exists():
            self._staging.mkdir(parents=True, exist_ok=True)
            grave = self._staging / f"removed-{path.parent.name}-{path.name}-{os.getpid()}"
            path.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)


def _stage(release: Path, staged: Path, *, kind: str) -> None:
    target = staged / "release"
    target.mkdir(parents=True)
    _link(release / "release.json", target / "release.json")
    for part in _PARTS[kind]:
        for source in files_below(release / part):
            _link(source, target / source.relative_to(release))
    write_text(staged / "model.py", _MODEL_PY.format(model=kind))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
