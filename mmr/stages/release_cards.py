"""Gathers the facts of a release under construction and writes its cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmr.atomic import write_text
from mmr.data.dataset import Dataset
from mmr.indexing import IndexManifest
from mmr.release.bundle import EVIDENCE, Release
from mmr.release.card_facts import DataFacts, ModelFacts, RefreshFacts
from mmr.release.data_card import DATA_CARD, data_card
from mmr.release.evidence import GateEvidence
from mmr.release.model_card import MODEL_CARD, model_card
from mmr.release.origin import TrainingOrigin
from mmr.release.parity import ParityReport


def write_cards(
    draft: Path,
    data: Dataset,
    *,
    index: IndexManifest,
    parity: ParityReport,
    settings: Mapping[str, Any],
    dataset_revision: str | None,
    git_revision: str | None,
    parent: Release | None = None,
) -> None:
    """Writes `evidence/model_card.md` and `evidence/data_card.md`.

    Args:
        draft: The release under construction, its evidence in place.
        data: The dataset.
        index: The record of the index.
        parity: How close the exported query encoder is to the trained one.
        settings: All settings of the run.
        dataset_revision: DVC's md5 of the dataset.
        git_revision: Commit of the code.
        parent: The release that is refreshed; None for a trained one.
    """
    evidence = draft / EVIDENCE
    model = ModelFacts(
        fingerprint=index.encoder_fingerprint,
        dim=index.dim,
        index=index.model_dump(mode="json"),
        max_cosine_distance=parity.max_cosine_distance,
        parity_queries=parity.queries,
        git_revision=git_revision,
        settings=settings,
    )
    facts = _data_facts(data, dataset_revision, evidence / "validation.json")
    gate = GateEvidence.read(evidence)
    refresh = None if parent is None else _refresh_facts(parent, gate, evidence)
    write_text(evidence / MODEL_CARD, model_card(gate, model, facts, refresh=refresh))
    write_text(evidence / DATA_CARD, data_card(facts, settings, refresh=refresh))


def _refresh_facts(parent: Release, gate: GateEvidence, evidence: Path) -> RefreshFacts:
    return RefreshFacts(
        parent=parent.release_id,
        changes=gate.record.get("changes", {}),
        training=TrainingOrigin.read(evidence),
    )


def _data_facts(data: Dataset, revision: str | None, validation: Path) -> DataFacts:
    queries = data.queries()
    kinds = (queries["split"] + ", " + queries["kind"]).value_counts().sort_index()
    grades = data.judgements()["grade"].value_counts().sort_index()
    return DataFacts(
        manifest=data.manifest.model_dump(mode="json"),
        revision=revision,
        queries={str(name): int(count) for name, count in kinds.items()},
        grades={str(grade): int(count) for grade, count in grades.items()},
        validation=json.loads(validation.read_text("utf-8")) if validation.is_file() else None,
    )
