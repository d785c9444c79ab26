"""What the cards of a release are written from, and the parts that both have.

Nothing here is measured anew or guessed: what is not on record is called unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr.config.licences import LicenceSettings
from mmr.markdown import table
from mmr.release.origin import TrainingOrigin

_UNSTATED = "unknown: not stated in the settings (`licences.{name}`)"


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model beside its gate.

    Attributes:
        fingerprint: Of its encoder.
        dim: Length of a vector.
        index: `index.json`.
        max_cosine_distance: Between trained and exported query encoder, worst of `parity_queries`.
        parity_queries: How many queries that was measured on.
        git_revision: Of the code.
        settings: All settings of the run.
    """

    fingerprint: str
    dim: int
    index: Mapping[str, Any]
    max_cosine_distance: float
    parity_queries: int
    git_revision: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data.

    Attributes:
        manifest: `dataset.json`.
        revision: DVC's md5.
        queries: Counts by `split, kind`.
        grades: Judgements by grade.
        validation: `validation.json`, where the data was validated.
    """

    manifest: Mapping[str, Any]
    revision: str | None
    queries: Mapping[str, int]
    grades: Mapping[str, int]
    validation: Mapping[str, Any] | None


@dataclass(frozen=True)
class RefreshFacts:
    """What is known of a release that took a newer catalogue in and was not trained.

    Attributes:
        parent: The release that was refreshed.
        changes: `changes.json`.
        training: Of its encoder; None where the parent kept nothing of it.
    """

    parent: str
    changes: Mapping[str, Any]
    training: TrainingOrigin | None


def refreshed(refresh: RefreshFacts) -> str:
    """Where the encoder of a release comes from that was not trained."""
    training, changes = refresh.training, refresh.changes
    origin = training.manifest if training else None
    rows = [
        ("catalogue before", f"release `{refresh.parent}`"),
        *((f"products {name}", changes.get(name)) for name in ("new", "changed", "removed")),
        ("vectors taken over", changes.get("reused")),
        ("encoder trained for", origin and f"release `{origin.release_id}`, {origin.created_at}"),
        ("on the dataset", origin and f"`{origin.dataset_hash}`"),
        ("its revision (DVC)", origin and (origin.dataset_revision or "not under DVC")),
        ("by code revision", origin and origin.git_revision),
    ]
    said = (
        "Nothing was trained for this release: it serves a newer catalogue with the encoder of the "
        "release before."
    )
    return f"{said}\n\n{table(('what', 'value'), rows)}"


def data_identity(data: DataFacts) -> list[tuple[str, object]]:
    """Which data it is, as rows of a table."""
    return [
        ("dataset", data.manifest["name"]),
        ("content hash", f"`{data.manifest['content_hash']}`"),
        ("revision (DVC)", data.revision or "not under DVC"),
        ("newest file of the feed", data.manifest.get("as_of")),
    ]


def licences_of(settings: Mapping[str, Any]) -> LicenceSettings:
    """The licences that the settings of a run state."""
    return LicenceSettings.model_validate(settings.get("licences") or {})


def licences(stated: LicenceSettings, names: Sequence[str]) -> str:
    """The terms of some parts, as stated or unknown."""
    rows = [
        (name.replace("_", " "), getattr(stated, name) or _UNSTATED.format(name=name))
        for name in names
    ]
    return table(("what", "terms"), rows)
