"""What a refreshed release keeps of the training of its encoder.

The release that the training made may be pruned; what was proven of the encoder stays on record.

evidence/training/   release.json, gate.json, per_query.parquet, model_card.md and data_card.md of
                     that release
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mmr.release.bundle import EVIDENCE, Release, copy_into_release
from mmr.release.evidence import GateEvidence
from mmr.release.manifest import MANIFEST_FILE, ReleaseManifest, read_manifest

TRAINING = "training"
_KEPT = ("gate.json", "per_query.parquet", "model_card.md", "data_card.md")


@dataclass(frozen=True)
class TrainingOrigin:
    """The release that the training of an encoder made.

    Attributes:
        manifest: Its `release.json`.
        evidence: What its gate recorded.
    """

    manifest: ReleaseManifest
    evidence: GateEvidence

    @classmethod
    def read(cls, evidence: Path) -> Self | None:
        """Reads it from the evidence of a refreshed release; None where nothing was kept.

        Raises:
            CorruptArtifactError: A file cannot be read, or was changed.
        """
        kept = evidence / TRAINING
        if not kept.is_dir():
            return None
        return cls(read_manifest(kept), GateEvidence.read(kept))


def keep_training(parent: Release, evidence: Path) -> None:
    """Copies what a release says of the training of its encoder into one under construction.

    Args:
        parent: The release that is refreshed, its files checked. What it kept itself is handed
            on; where it was refreshed and kept nothing, there is nothing to hand on.
        evidence: Of the release under construction.
    """
    source, target = parent.path / EVIDENCE, evidence / TRAINING
    if (source / TRAINING).is_dir():
        copy_into_release(source / TRAINING, target)
    elif parent.manifest.parent_release is None:
        target.mkdir()
        for path in (parent.path / MANIFEST_FILE, *(source / name for name in _KEPT)):
            if path.is_file():
                shutil.copyfile(path, target / path.name)
