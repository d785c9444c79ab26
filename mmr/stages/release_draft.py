"""Puts the files of a release together, before it is sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr.atomic import write_json
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError
from mmr.indexing import IndexManifest
from mmr.release.bundle import (
    EVIDENCE,
    INDEX,
    PRODUCT_ENCODER,
    QUERY_ENCODER,
    SETTINGS,
    Release,
    copy_into_release,
)
from mmr.release.exam import Exam
from mmr.release.origin import keep_training
from mmr.release.parity import ParityReport
from mmr.stages.exam import query_texts
from mmr.stages.release_cards import write_cards
from mmr.stages.release_profile import write_query_profile
from mmr.stages.release_proof import prove_answers


@dataclass(frozen=True)
class ReleaseContents:
    """What goes into a release.

    Attributes:
        data: The dataset that was trained, evaluated and indexed.
        model: Directory of the model.
        index: Directory of the index.
        gate: Directory of the gate; its files become evidence.
        validation: Directory of the validation; its record becomes evidence.
        parent: The release that is refreshed, every file checked; None for a trained one.
        exam: The queries that the release was examined with.
        index_manifest: Record of the index.
        settings: All settings of the run.
        revisions: `dataset_revision` and `git_revision`.
    """

    data: Dataset
    model: Path
    index: Path
    gate: Path
    validation: Path | None
    parent: Release | None
    exam: Exam
    index_manifest: IndexManifest
    settings: Mapping[str, Any]
    revisions: Mapping[str, str | None]

    @property
    def fingerprint(self) -> str:
        """Of the encoder; model and index have the same."""
        return self.index_manifest.encoder_fingerprint


def fill_draft(draft: Path, contents: ReleaseContents) -> ParityReport:
    """Copies, exports and writes everything but `release.json`.

    Args:
        draft: The directory of the release under construction.
        contents: What goes into it.

    Returns:
        How close the exported query encoder is to the trained one.

    Raises:
        ArtifactError: A file may not go into a release, or the exported query encoder differs.
    """
    parent, fingerprint = contents.parent, contents.fingerprint
    if parent is None:
        _export(contents.model, draft / QUERY_ENCODER, fingerprint)
    else:
        copy_into_release(parent.query_encoder_dir, draft / QUERY_ENCODER)
    copy_into_release(contents.index, draft / INDEX)
    parity = prove_answers(
        query_texts(contents.data, contents.exam),
        contents.model,
        draft,
        fingerprint,
        proven=None if parent is None else ParityReport.read(parent.path / EVIDENCE),
    )
    write_query_profile(draft, contents.data, contents.exam, parent=parent, fingerprint=fingerprint)
    copy_into_release(contents.model, draft / PRODUCT_ENCODER)
    write_json(draft / SETTINGS, dict(contents.settings))
    _fill_evidence(draft, contents, parity)
    return parity


def _fill_evidence(draft: Path, contents: ReleaseContents, parity: ParityReport) -> None:
    evidence = draft / EVIDENCE
    copy_into_release(contents.gate, evidence)
    if contents.validation is not None:
        record = contents.validation / "validation.json"
        if not record.is_file():
            raise ArtifactError(f"{record} is missing. Validate the dataset first.")
        (evidence / record.name).write_bytes(record.read_bytes())
    if contents.parent is not None:
        keep_training(contents.parent, evidence)
    contents.exam.write(evidence)
    parity.write(evidence)
    write_cards(
        draft,
        contents.data,
        index=contents.index_manifest,
        parity=parity,
        settings=contents.settings,
        parent=contents.parent,
        **contents.revisions,
    )


def _export(model: Path, out: Path, fingerprint: str) -> None:
    from mmr.models.export import export_query_encoder  # torch loads here

    export_query_encoder(model, out, fingerprint=fingerprint)
