"""Triton's model repository in a workspace: versions appear whole, by rename, and never change.

```text
serving/
├── repository/                     what Triton sees
│   ├── search/                     and query_encoder, each:
│   │   ├── config.pbtxt
│   │   ├── warmup/query            sent through a version before it counts as ready
│   │   └── 7/                      version; both models share one number per release
│   │       ├── model.py
│   │       ├── __pycache__         a file, see `serving.staging`
│   │       └── release/            the release's files: hard links, or copies
│   ├── search_candidate/7/         only while release 7 is being verified
│   └── search_trial/8/             only while release 8 is on trial
├── staging/                        versions being put together
├── verified.json                   releases that passed their golden queries here
├── warm.json                       until when versions older than the active one stay loaded
├── models.json                     threads, instances and batching, if they were ever chosen
└── active.json                     the version that serves
```
"""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from mmr.atomic import fsync_path, write_text
from mmr.errors import ServingError
from serving.active import ActiveRecord, ActiveVersion
from serving.kept import KeptRecords
from serving.live.places import LivePlaces
from serving.model_config import (
    CANDIDATE_SUFFIX,
    MODELS,
    SEARCH,
    TRIAL_SUFFIX,
    model_config,
)
from serving.models.requests import WARM_UP_TEXT
from serving.settings import ModelSettings
from serving.staging import stage_model

_WARM_UP_QUERY = WARM_UP_TEXT.encode()


class ModelRepository:
    """The model repository below a workspace's serving directory.

    Args:
        serving: `Workspace.serving`.
    """

    def __init__(self, serving: Path) -> None:
        self.path = serving / "repository"
        self.places = LivePlaces(serving)
        self._staging = serving / "staging"
        self._active = ActiveRecord(serving)
        self.kept = KeptRecords(serving)

    def create(self) -> None:
        """Makes the directories that Triton expects to find."""
        for model in MODELS:
            (self.path / model).mkdir(parents=True, exist_ok=True)

    def active(self) -> ActiveVersion | None:
        """The version that serves, or None before the first deployment.

        Raises:
            ServingError: `active.json` cannot be read.
        """
        return self._active.read()

    def set_active(self, active: ActiveVersion | None) -> None:
        """Records what serves; a restarted server loads exactly that."""
        if active is None:
            self._active.remove()
        else:
            self._active.write(active, highest=self.next_version() - 1)

    def versions(self, model: str) -> list[int]:
        """The version numbers of a model, ascending."""
        directory = self.path / model
        if not directory.is_dir():
            return []
        return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())

    def next_version(self) -> int:
        """A number above all that are there or were ever active."""
        suffixes = ("", TRIAL_SUFFIX)
        taken = [
            n for model in MODELS for suffix in suffixes for n in self.versions(model + suffix)
        ]
        return 1 + max([self._active.highest_version(), *taken])

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
        suffix: str = "",
    ) -> tuple[str, ...]:
        """Stages one version of both models and moves it into Triton's view.

        Args:
            release: The release directory; its files are linked, or copied across file systems and
                where another version has the links: Triton loads a version again whose files gain
                or lose one.
            version: The number that both models get.
            settings: Goes into `config.pbtxt`.
            keep_versions: Goes into `config.pbtxt`.
            suffix: Put behind the models' names; empty for what clients ask for.

        Returns:
            The names of the two models.
        """
        linked = not self._has_links_to(release)
        for kind in MODELS:
            model = kind + suffix
            staged = self._staging / f"{model}-{version}"
            shutil.rmtree(staged, ignore_errors=True)
            stage_model(release, staged, kind=kind, linked=linked)
            target = self.path / model
            target.mkdir(parents=True, exist_ok=True)
            self.configure(model, settings, keep_versions=keep_versions)
            staged.rename(target / str(version))
            fsync_path(target)
        return tuple(kind + suffix for kind in MODELS)

    def _has_links_to(self, release: Path) -> bool:
        """Whether any version's files are those of a release, and no copies of them."""
        manifest = release / "release.json"
        held = self.path.glob("*/*/release/release.json")
        return any(os.path.samefile(manifest, file) for file in held)

    def adopt_candidate(
        self, version: int, *, settings: ModelSettings, keep_versions: int
    ) -> tuple[str, ...]:
        """Moves the candidate's version of both models to where clients are answered from.

        Moved, not staged anew: with every later version Triton would load this one again, because
        its files lost the hard links of the candidate after it was loaded.

        Returns:
            The names of the two models.
        """
        for model in MODELS:
            target = self.path / model
            target.mkdir(parents=True, exist_ok=True)
            self.configure(model, settings, keep_versions=keep_versions)
            (self.path / (model + CANDIDATE_SUFFIX) / str(version)).rename(target / str(version))
            fsync_path(target)
        return MODELS

    def configure(self, model: str, settings: ModelSettings, *, keep_versions: int) -> bool:
        """Writes a model's `config.pbtxt`; False if it says this already.

        An equal file is left alone: Triton reloads every version when the file's time changes.
        """
        path = self.path / model / "config.pbtxt"
        text = model_config(model, settings, keep_versions=keep_versions)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        warmup = self.path / model / "warmup"
        warmup.mkdir(exist_ok=True)
        (warmup / "query").write_bytes(struct.pack("<I", len(_WARM_UP_QUERY)) + _WARM_UP_QUERY)
        write_text(path, text)
        return True

    def read_config(self, model: str) -> str:
        """The text of a model's `config.pbtxt`."""
        return (self.path / model / "config.pbtxt").read_text(encoding="utf-8")

    def restore_config(self, model: str, text: str) -> None:
        """Writes back what `read_config` gave."""
        write_text(self.path / model / "config.pbtxt", text)

    def remove(self, version: int) -> None:
        """Takes a version of both models out of Triton's view, then deletes it."""
        self._active.remember(version)
        for model in MODELS:
            self._discard(self.path / model / str(version))

    def remove_models(self, suffix: str) -> None:
        """Deletes the models under verification, or those on trial."""
        for model in MODELS:
            for version in self.versions(model + suffix):
                self._active.remember(version)
            self._discard(self.path / (model + suffix))

    def retire(self, *, keep: int) -> list[int]:
        """Deletes all but the newest `keep` versions and returns the numbers deleted."""
        retired = sorted({v for model in MODELS for v in self.versions(model)[:-keep]})
        for version in retired:
            self.remove(version)
        return retired

    def cool_down(self, load: Callable[[str], None]) -> list[int]:
        """Takes the versions older than the active one out of use; for when their time is over.

        Args:
            load: Makes Triton look at a model again, so that it unloads what is gone.

        Returns:
            The versions. Called again after a kill, it finishes what is left to do.
        """
        active = self.active()
        found = {v for model in MODELS for v in self.versions(model)} if active else set()
        old = sorted(version for version in found if active and version < active.version)
        for version in old:
            self.remove(version)
        for model in MODELS:
            load(model)
        self.kept.forget_warm()
        return old

    def holds_trial(self, active: ActiveVersion | None) -> bool:
        """Whether a candidate is on trial against the release that serves."""
        try:
            trial = self.places.read_trial()
        except ServingError:
            return False  # damaged: nothing in it can be relied upon
        return (
            trial is not None and active is not None and trial.live_release_id == active.release_id
        )

    def unactivated(self) -> list[int]:
        """Versions newer than the active one: a deployment was killed before its switch."""
        active = self.active()
        newest = active.version if active else 0
        return sorted({v for model in MODELS for v in self.versions(model) if v > newest})

    def remove_leftovers(self) -> None:
        """Deletes what a killed command left: staged, candidate, never activated, void trials."""
        shutil.rmtree(self._staging, ignore_errors=True)
        self.remove_models(CANDIDATE_SUFFIX)
        if not self.holds_trial(self.active()):
            self.places.remove_trial()
            self.remove_models(TRIAL_SUFFIX)
        for version in self.unactivated():
            self.remove(version)

    def _discard(self, path: Path) -> None:
        """Renames first, so that Triton never sees half of a version."""
        if path.exists():
            self._staging.mkdir(parents=True, exist_ok=True)
            grave = self._staging / f"removed-{path.parent.name}-{path.name}-{os.getpid()}"
            path.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
