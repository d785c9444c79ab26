"""The steps of one deployment: load out of sight, verify, go live, go back, move the champion."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmr.errors import MmrError
from mmr.release.bundle import GoldenQuery, Release
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.golden import GoldenReport, verify
from serving.model_config import CANDIDATE_SUFFIX, MODELS, SEARCH, TRIAL_SUFFIX
from serving.process import RunningServer
from serving.repository import ModelRepository
from serving.settings import DeploySettings, ServeSettings
from serving.transport import Transport, connect

if TYPE_CHECKING:
    from mmr.tracking import Registry
    from mmr.tracking.protocols import Action


@dataclass(frozen=True)
class Promotion:
    """What the registry is told when the champion moves.

    Attributes:
        expected: The champion that is to be replaced; None for none yet.
        action: Goes into the record, as `why` and `who` do.
    """

    expected: str | None
    why: str
    who: str
    action: Action = "promote"


class Rollout:
    """One release on its way into a running server; a context that leaves no candidate behind."""

    def __init__(
        self,
        release: Release,
        server: RunningServer,
        repository: ModelRepository,
        settings: DeploySettings,
        serve: ServeSettings,
    ) -> None:
        self.repository = repository
        self._release, self._server = release, server
        self._settings, self._serve = settings, serve
        self._models = serve.models or repository.kept.model_settings()
        self._transport: Transport = connect(
            server.grpc_url, protocol="grpc", timeout_s=settings.load_timeout_s
        )

    def __enter__(self) -> Rollout:
        """Clears away what a killed deployment left."""
        self.remove_models(CANDIDATE_SUFFIX)
        for version in self.repository.unactivated():
            self._withdraw(version)
        self._unload_withdrawn()
        self._remove_void_trial()
        self.repository.remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves no candidate behind, whatever happened, and no trial against another release."""
        try:
            self.remove_models(CANDIDATE_SUFFIX)
            self._remove_void_trial()
        finally:
            self._transport.close()

    def serves_already(self) -> bool:
        """Whether this release is active and answers."""
        active = self.repository.active()
        return (
            active is not None
            and active.release_id == self._release.release_id
            and all(self._transport.ready(model, version=active.version) for model in MODELS)
        )

    def apply_settings(self, golden: list[GoldenQuery]) -> GoldenReport | None:
        """Brings the serving models to the chosen threads, instances and batching.

        Triton loads them anew beside those that run, and then switches. If they fail their golden
        queries, the settings before come back.

        Returns:
            How the golden queries went; None if the settings are these already.
        """
        before = {model: self.repository.read_config(model) for model in MODELS}
        keep = self._settings.keep_versions
        changed = [
            self.repository.configure(model, self._models, keep_versions=keep) for model in MODELS
        ]
        active = self.repository.active()
        if active is None or not any(changed):
            return None
        try:
            self._load(MODELS)
            return self._ask(golden, version=active.version)
        except MmrError:
            for model, text in before.items():
                self.repository.restore_config(model, text)
            self._load(MODELS)
            raise

    def verify_candidate(self, golden: list[GoldenQuery]) -> GoldenReport:
        """Loads the release out of the clients' sight and sends it the golden queries."""
        version = self.repository.next_version()
        self._load(self._add(version, suffix=CANDIDATE_SUFFIX))
        report = self._ask(golden, version=version, model_suffix=CANDIDATE_SUFFIX)
        self.repository.kept.remember_verified(self._release.release_id)
        return report

    def go_live(self) -> None:
        """Loads the verified release beside the serving one, and switches to it."""
        keep = self._settings.keep_versions
        with self._new_version() as version:
            for model in MODELS:
                self._transport.unload(model + CANDIDATE_SUFFIX)
            self._load(
                self.repository.adopt_candidate(version, settings=self._models, keep_versions=keep)
            )

    def bring_back(self) -> None:
        """Loads a release that served before beside the serving one, and switches to it."""
        with self._new_version() as version:
            self._load(self._add(version))

    def return_verified(self, golden: list[GoldenQuery]) -> GoldenReport:
        """The same for a release that passed here before: no load out of the clients' sight.

        It still has to pass; if it does not, it is withdrawn and what served serves on.
        """
        with self._new_version() as version:
            self._load(self._add(version))
            return self._ask(golden, version=version)

    def try_out(self, golden: list[GoldenQuery]) -> tuple[int, GoldenReport]:
        """Loads the release where only a trial reaches it; its version, and how it answered."""
        version = self.repository.next_version()
        self._load(self._add(version, suffix=TRIAL_SUFFIX))
        return version, self._ask(golden, version=version, model_suffix=TRIAL_SUFFIX)

    @contextmanager
    def _new_version(self) -> Iterator[int]:
        """A version that becomes the active one, or is withdrawn."""
        version = self.repository.next_version()
        try:
            yield version
        except MmrError:
            self._withdraw(version)
            raise
        self.repository.set_active(ActiveVersion(version, self._release.release_id))

    def return_to(self, version: int, golden: list[GoldenQuery]) -> GoldenReport:
        """Sends traffic back to a version that was kept loaded: nothing has to load.

        It must pass its golden queries once more before the newer versions are withdrawn.
        """
        report = self._ask(golden, version=version)
        self.repository.set_active(ActiveVersion(version, self._release.release_id))
        for newer in self.repository.unactivated():
            self._withdraw(newer)
        return report

    def warm_version(self) -> int | None:
        """The version under which this release is still loaded; None if it is not."""
        version = self.repository.version_of(self._release.release_id)
        loaded = version is not None and all(
            self._transport.ready(model, version=version) for model in MODELS
        )
        return version if loaded else None

    def was_verified(self) -> bool:
        """Whether the release passed its golden queries in this workspace before."""
        return self.repository.kept.was_verified(self._release.release_id)

    def tidy_up(self) -> None:
        """Retires old versions, and sets until when those that are left stay loaded."""
        self.repository.retire(keep=self._settings.keep_versions)
        self.repository.kept.keep_warm(until=time.time() + self._settings.keep_warm_s)
        if self._serve.models:
            self.repository.kept.keep_model_settings(self._serve.models)

    def promote(
        self, registry: Registry, before: ActiveVersion | None, promotion: Promotion
    ) -> None:
        """Moves the champion; if the registry refuses, what served before serves again."""
        try:
            registry.promote(
                self._release.release_id,
                expected=promotion.expected,
                why=promotion.why,
                who=promotion.who,
                action=promotion.action,
            )
        except MmrError:
            self._put_back(before)
            raise

    def _put_back(self, before: ActiveVersion | None) -> None:
        now = self.repository.active()
        if now is None or now == before:
            return
        if before is None or before.version in self.repository.versions(SEARCH):
            self.repository.set_active(before)
            self._withdraw(now.version)
        else:  # it was withdrawn in favour of an older version: it comes back under a new number
            old = Release.open(self._release.path.parent / before.release_id)
            with Rollout(
                old, self._server, self.repository, self._settings, self._serve
            ) as rollout:
                rollout.bring_back()

    def _ask(
        self, golden: list[GoldenQuery], *, version: int, model_suffix: str = ""
    ) -> GoldenReport:
        with SearchClient(
            self._server.grpc_url,
            timeout_s=self._settings.load_timeout_s,
            version=version,
            model_suffix=model_suffix,
            batch=self._models.max_batch,
            probe=True,
        ) as client:
            return verify(
                client, golden, release_id=self._release.release_id, settings=self._settings
            )

    def _add(self, version: int, *, suffix: str = "") -> tuple[str, ...]:
        return self.repository.add(
            self._release.path,
            version,
            settings=self._models,
            keep_versions=self._settings.keep_versions,
            suffix=suffix,
        )

    def _load(self, models: tuple[str, ...]) -> None:
        """One after the other: each takes a core while it loads, what serves needs the others."""
        for model in models:
            self._transport.load(model, timeout_s=self._settings.load_timeout_s)

    def _withdraw(self, version: int) -> None:
        """Takes a live version back: Triton unloads it and sends traffic to the one before."""
        self.repository.remove(version)
        for model in MODELS:
            self._reload(model)

    def _reload(self, model: str) -> None:
        """Lets Triton hold what lies in its repository, and nothing else."""
        if self.repository.versions(model):
            self._transport.load(model, timeout_s=self._settings.load_timeout_s)
        else:
            self._transport.unload(model)

    def _unload_withdrawn(self) -> None:
        """Finishes a withdrawal killed after the files had gone: Triton still answers with them."""
        active = self.repository.active()
        newest = active.version if active else 0
        for model in {name for name, version in self._transport.loaded() if version > newest}:
            if model in MODELS:
                self._reload(model)

    def remove_models(self, suffix: str) -> None:
        """Unloads and deletes the models under verification, or those on trial."""
        for model in MODELS:
            if self.repository.versions(model + suffix):
                self._transport.unload(model + suffix)
        self.repository.remove_models(suffix)

    def _remove_void_trial(self) -> None:
        """A trial compares with one live release: when another serves, it is over."""
        active = self.repository.active()
        if not self.repository.holds_trial(active):
            self.repository.places.remove_trial()
            self.remove_models(TRIAL_SUFFIX)
