"""The stage `register_release`: seals everything that serves into one release and registers it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr.atomic import new_directory
from mmr.data import revision
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, CorruptArtifactError, IndexMismatchError
from mmr.indexing import check_pair
from mmr.release.bundle import Release, seal
from mmr.release.fingerprint import encoder_fingerprint
from mmr.release.parity import ParityReport
from mmr.release.same import find_same
from mmr.stages.exam import exam_of
from mmr.stages.release_draft import ReleaseContents, fill_draft

if TYPE_CHECKING:
    from mmr.tracking import Registry

_CANDIDATE, _CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class ReleaseRecord:
    """What was registered.

    Attributes:
        path: The release's directory.
        version: The registry's number for it.
        alias: `candidate`, or `champion` when this very release is in production already.
        gate_decision: Of this run: `promote` (to be deployed) or `hold` (a person decides).
        parity: How close the exported query encoder is to the trained one.
    """

    release_id: str
    path: Path
    version: int
    alias: str
    gate_decision: str
    parity: ParityReport

    def as_metrics(self) -> dict[str, float]:
        """The figures to log."""
        return {
            "release_version": float(self.version),
            "onnx_max_cosine_distance": self.parity.max_cosine_distance,
            "onnx_parity_queries": float(self.parity.queries),
        }


def register_release(
    *,
    dataset: Path,
    model: Path,
    index: Path,
    gate: Path,
    releases: Path,
    registry: Registry,
    validation: Path | None = None,
    parent: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    dataset_revision: str | None = None,
    git_revision: str | None = None,
) -> ReleaseRecord:
    """Exports the query encoder, proves it equal, and seals and registers the release.

    The same inputs give the same release id; registering them again changes nothing. Nor does a
    repeated run that differs in nothing but what the gate measured and when: see
    `mmr.release.same`.

    Args:
        dataset: The dataset that was trained, evaluated and indexed.
        model: Directory of the gated model.
        index: Directory written by `build_index` with this model's vectors.
        gate: Directory written by `evaluate_gate`; its files become evidence.
        releases: The release appears below, named by its id.
        registry: Where it is registered, as `candidate`.
        validation: Directory written by `validate_data`; its record becomes evidence.
        parent: Directory of the release whose catalogue is refreshed: its query encoder serves on,
            byte for byte, and it is recorded as the origin.
        settings: All settings of the run.
        dataset_revision: DVC's md5 of the dataset; looked up beside `dataset` when None.
        git_revision: Commit of the code; looked up around mmr's own files when None.

    Raises:
        ArtifactError: The gate rejected the model, inputs do not belong together, or the exported
            query encoder differs from the trained one.
    """
    decision = _Decision.read(gate)
    contents = _contents(
        *(dataset, model, index, gate),
        validation=validation,
        parent=parent,
        settings=settings,
        revisions={
            "dataset_revision": dataset_revision or revision.dataset_revision(dataset),
            "git_revision": git_revision or revision.git_revision(Path(__file__)),
        },
    )
    _check_lineage(contents, decision)
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release.partial-", dir=releases) as scratch:
        draft = Path(scratch) / "release"
        parity = fill_draft(draft, contents)
        manifest = seal(
            draft,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            content=_manifest_content(contents, decision),
        )
        known = find_same(releases, Release(draft, manifest), champion=registry.resolve(_CHAMPION))
        path = known.path if known else releases / manifest.release_id
        _publish(draft, path)
    return _register(registry, Release.open(path), decision.decision, parity)


def _contents(
    dataset: Path,
    model: Path,
    index: Path,
    gate: Path,
    *,
    validation: Path | None,
    parent: Path | None,
    settings: Mapping[str, Any] | None,
    revisions: Mapping[str, str | None],
) -> ReleaseContents:
    fingerprint = encoder_fingerprint(model)
    data = Dataset(dataset)
    origin = None if parent is None else _parent(parent, fingerprint)
    return ReleaseContents(
        data=data,
        model=model,
        index=index,
        gate=gate,
        validation=validation,
        parent=origin,
        exam=exam_of(data, origin),
        index_manifest=check_pair(index, encoder_fingerprint=fingerprint),
        settings=dict(settings or {}),
        revisions=revisions,
    )


@dataclass(frozen=True)
class _Decision:
    """What is needed of `gate.json`."""

    decision: str
    run_id: str | None
    metrics: dict[str, float]
    fingerprint: str | None

    @classmethod
    def read(cls, gate: Path) -> _Decision:
        """Reads the record.

        Raises:
            ArtifactError: The gate rejected the model, or there is no record.
        """
        path = gate / "gate.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            decision = cls(
                decision=str(record["decision"]),
                run_id=record.get("mlflow_run_id"),
                metrics={
                    f"{side}/{name}": float(value)
                    for side, scores in sorted(record["metrics"].items())
                    for name, value in scores["overall"].items()
                },
                fingerprint=record.get("lineage", {}).get("candidate_fingerprint"),
            )
        except FileNotFoundError as error:
            raise ArtifactError(f"{path} is missing. Run the gate on this model first.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error!r}). Run the gate again."
            ) from error
        if decision.decision not in ("promote", "hold"):
            raise ArtifactError(
                f"The gate decided {decision.decision!r} ({path}): only `promote` and `hold` "
                "become a release. The report beside it gives every reason."
            )
        return decision


def _manifest_content(contents: ReleaseContents, decision: _Decision) -> dict[str, Any]:
    """The fields of `release.json` that do not follow from the files."""
    index, parent = contents.index_manifest, contents.parent
    return {
        "encoder_fingerprint": contents.fingerprint,
        "dim": index.dim,
        "dataset_hash": contents.data.manifest.content_hash,
        **contents.revisions,
        "mlflow_run_id": decision.run_id,
        "metrics": {**decision.metrics, "index_recall_at_100": index.recall_at_100},
        "gate_decision": decision.decision,
        "parent_release": None if parent is None else parent.release_id,
    }


def _check_lineage(contents: ReleaseContents, decision: _Decision) -> None:
    data, built_from = contents.data, contents.index_manifest.dataset_hash
    if built_from != data.manifest.content_hash:
        raise IndexMismatchError(
            f"Index {contents.index} was built from dataset {built_from}, but {data.path} is "
            f"{data.manifest.content_hash}. Embed and index this dataset."
        )
    if decision.fingerprint not in (None, contents.fingerprint):
        raise ArtifactError(
            f"The gate judged encoder {decision.fingerprint}, but the model is "
            f"{contents.fingerprint}. Run the gate on this model."
        )


def _parent(directory: Path, fingerprint: str) -> Release:
    """Opens the release that is refreshed, every file checked: parts of it are taken over."""
    release = Release.open(directory, verify="hashes")
    if release.manifest.encoder_fingerprint != fingerprint:
        raise IndexMismatchError(
            f"Release {release.release_id} serves encoder {release.manifest.encoder_fingerprint}, "
            f"but the model is {fingerprint}. A refresh keeps the encoder; register a trained "
            "model without a parent."
        )
    return release


def _publish(draft: Path, path: Path) -> None:
    """Moves a sealed release to its place, unless it stands there already."""
    if path.exists():
        Release.open(path, verify="hashes")
        return
    with new_directory(path) as empty:
        draft.replace(empty)


def _register(
    registry: Registry, release: Release, gate_decision: str, parity: ParityReport
) -> ReleaseRecord:
    manifest, release_id = release.manifest, release.release_id
    tags = {
        "gate_decision": manifest.gate_decision,
        "encoder_fingerprint": manifest.encoder_fingerprint,
        "dataset_hash": manifest.dataset_hash,
        "dataset_revision": manifest.dataset_revision or "",
        "git_revision": manifest.git_revision or "",
        "parent_release": manifest.parent_release or "",
        "onnx_max_cosine_distance": f"{parity.max_cosine_distance:.2e}",
    }
    version = registry.register(
        release_id=release_id, release_dir=release.path, run_id=manifest.mlflow_run_id, tags=tags
    )
    in_production = registry.resolve(_CHAMPION) == release_id
    if not in_production:
        registry.set_alias(_CANDIDATE, release_id)
    return ReleaseRecord(
        release_id=release_id,
        path=release.path,
        version=version,
        alias=_CHAMPION if in_production else _CANDIDATE,
        gate_decision=gate_decision,
        parity=parity,
    )
