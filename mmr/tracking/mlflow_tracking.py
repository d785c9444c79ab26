"""Tracker and registry on MLflow: SQLite beside the workspace, or any MLflow server.

Aliases only, never stages. MLflow keeps no history of aliases and moves them without asking what
they were: so a promotion takes a lock, checks the champion that the caller saw, and leaves an
audit record (a run of the experiment `mmr-audit`, mirrored as a line of JSON). The lock is a file
for this machine, and for a store that several machines use a queue in the store itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mmr.tracking.champion import (
    check_alias_may_be_set,
    check_expected,
    check_not_deleted,
    check_not_named,
    now,
)
from mmr.tracking.connection import database_path, lock_path, store_lock, translated
from mmr.tracking.mlflow_audit import AuditTrail, record_of
from mmr.tracking.mlflow_model import log_release_model
from mmr.tracking.mlflow_runs import write_run
from mmr.tracking.mlflow_versions import REGISTERED_MODEL, ModelVersions, or_none
from mmr.tracking.protocols import (
    CANDIDATE,
    CHAMPION,
    DELETED,
    PREVIOUS,
    Action,
    AuditRecord,
    Parameter,
    RegisteredRelease,
)
from mmr.tracking.remote_lock import Lease, RemoteLock

EXPERIMENT = "mmr"
AUDIT_EXPERIMENT = "mmr-audit"


class MlflowTracking:
    """Implements `Tracker` and `Registry`. Open one with `mmr.tracking.open_tracking`.

    Args:
        uri: `sqlite:///FILE`, `http(s)://HOST`, or a database address.
        audit_file: Where audit records are mirrored; `audit.jsonl` beside a SQLite file if None.
    """

    def __init__(self, uri: str, *, audit_file: Path | None = None) -> None:
        database = database_path(uri)
        self.uri = f"sqlite:///{database}" if database else uri
        self.mirror = audit_file or (database.with_name("audit.jsonl") if database else None)
        self._artifacts = database.with_name("mlartifacts") if database else None
        self._experiments: dict[str, str] = {}
        with self._calling("opening the store"), store_lock(self.uri):
            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self._versions = ModelVersions(self._client)
            self._experiment(EXPERIMENT)
            self._audit = AuditTrail(self._client, self._experiment(AUDIT_EXPERIMENT), self.mirror)
            machine = lock_path(self.uri).with_suffix(".machine")
            self._remote_lock = None if database else RemoteLock(self._client, machine)

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
        """See `Tracker.log_run`."""
        with self._calling(f"logging the run {name}"):
            return write_run(
                self._client,
                experiment_id=self._experiment(EXPERIMENT),
                name=name,
                params=params,
                metrics=metrics,
                history=history,
                tags=tags or {},
                artifacts=artifacts,
            )

    def register(
        self, *, release_id: str, release_dir: Path, run_id: str | None, tags: Mapping[str, str]
    ) -> int:
        """See `Registry.register`. The model version loads as text in, embedding out."""
        with self._calling(f"registering release {release_id}"), store_lock(self.uri):
            known = self._versions.of(release_id)
            if known is not None:
                if DELETED in known.tags:
                    self._client.delete_model_version_tag(REGISTERED_MODEL, known.version, DELETED)
                return int(known.version)
            self._ensure_registered_model()
            run_id = self._existing_run(run_id) or self._registration_run(release_id)
            model = log_release_model(
                self._client,
                experiment_id=self._experiment(EXPERIMENT),
                run_id=run_id,
                release_id=release_id,
                release_dir=release_dir,
            )
            version = self._client.create_model_version(
                REGISTERED_MODEL,
                source=model.artifact_location,  # models:/ID would ask the process-wide store
                run_id=run_id,
                tags={**tags, "release_id": release_id, "release_dir": str(release_dir)},
                model_id=model.model_id,
            )
            return int(version.version)

    def resolve(self, alias: str) -> str | None:
        """See `Registry.resolve`."""
        with self._calling(f"reading the alias {alias}"):
            version = or_none(
                lambda: self._client.get_model_version_by_alias(REGISTERED_MODEL, alias)
            )
            return None if version is None else str(version.tags["release_id"])

    def set_alias(self, alias: str, release_id: str) -> None:
        """See `Registry.set_alias`."""
        check_alias_may_be_set(alias)
        with self._changing(f"setting the alias {alias}") as lease:
            check_not_deleted(release_id, self._versions.known(release_id).tags)
            lease.check()
            self._versions.point(alias, release_id)

    def aliases(self, release_id: str) -> list[str]:
        """See `Registry.aliases`."""
        with self._calling(f"reading the aliases of release {release_id}"):
            version = self._versions.of(release_id)
            return (
                []
                if version is None
                else sorted(self._versions.aliases().get(str(version.version), []))
            )

    def releases(self) -> list[RegisteredRelease]:
        """See `Registry.releases`."""
        with self._calling("listing the releases"):
            aliases = self._versions.aliases()
            found = [
                RegisteredRelease(
                    release_id=version.tags["release_id"],
                    version=int(version.version),
                    aliases=tuple(sorted(aliases.get(str(version.version), []))),
                    run_id=version.run_id or None,
                    created_at=_iso(version.creation_timestamp),
                    tags=dict(version.tags),
                )
                for version in self._versions.all()
                if "release_id" in version.tags
            ]
            return sorted(found, key=lambda release: -release.version)

    def promote(
        self,
        release_id: str,
        *,
        expected: str | None,
        why: str,
        who: str,
        action: Action = "promote",
    ) -> AuditRecord:
        """See `Registry.promote`."""
        with self._changing(f"promoting release {release_id}") as lease:
            check_not_deleted(release_id, self._versions.known(release_id).tags)
            current = self.resolve(CHAMPION)
            if current == release_id:
                run_id = self._audit.latest_of(release_id) or self._audit.announce(
                    release_id, action=action, replaced=None, why=why, who=who
                )  # without a record: another tool moved the alias
                return self._conclude(run_id, release_id)
            check_expected(release_id, current=current, expected=expected)
            lease.check()
            begun = self._audit.interrupted(release_id, replaced=current)
            run_id = begun or self._audit.announce(
                release_id, action=action, replaced=current, why=why, who=who
            )
            if current is not None:
                self._versions.point(PREVIOUS, current)
            lease.check()
            self._versions.point(CHAMPION, release_id)
            return self._conclude(run_id, release_id)

    def mark_deleted(self, release_id: str) -> None:
        """See `Registry.mark_deleted`."""
        with self._changing(f"deleting release {release_id}") as lease:
            version = self._versions.known(release_id).version
            check_not_named(release_id, self._versions.aliases().get(str(version), []))
            lease.check()
            self._client.set_model_version_tag(REGISTERED_MODEL, version, DELETED, now())

    def history(self) -> list[AuditRecord]:
        """See `Registry.history`."""
        with self._calling("reading the audit records"):
            return [record_of(run) for run in self._audit.runs()]

    def latest(self) -> AuditRecord | None:
        """See `Registry.latest`."""
        with self._calling("reading the newest audit record"):
            run = self._audit.newest()
            return record_of(run) if run else None

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        with translated(self.uri, doing):
            yield

    @contextmanager
    def _changing(self, doing: str) -> Iterator[Lease]:
        """The only one, on any machine, that changes aliases or deletes."""
        with self._calling(doing), store_lock(self.uri):
            if self._remote_lock is None:
                yield Lease(None)
            else:
                with self._remote_lock.held() as lease:
                    yield lease

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = str(
                found.experiment_id if found else self._new_experiment(name)
            )
        return self._experiments[name]

    def _new_experiment(self, name: str) -> str:
        location = (self._artifacts / name).as_uri() if self._artifacts else None
        try:
            return str(self._client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(self._client.get_experiment_by_name(name).experiment_id)

    def _ensure_registered_model(self) -> None:
        try:
            self._client.create_registered_model(REGISTERED_MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _existing_run(self, run_id: str | None) -> str | None:
        if run_id is None:
            return None
        run = or_none(lambda: self._client.get_run(run_id))
        return None if run is None else str(run.info.run_id)

    def _registration_run(self, release_id: str) -> str:
        return write_run(
            self._client,
            experiment_id=self._experiment(EXPERIMENT),
            name=f"register {release_id}",
            params={},
            metrics={},
            history=(),
            tags={"release_id": release_id},
            artifacts=None,
        )

    def _conclude(self, run_id: str, release_id: str) -> AuditRecord:
        record = self._audit.read(run_id)
        if record.finished:
            return record
        if self.resolve(CANDIDATE) == release_id:
            self._client.delete_registered_model_alias(REGISTERED_MODEL, CANDIDATE)
        return self._audit.finish(run_id)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
