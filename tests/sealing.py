"""Seals what a test has put together as a release, with plain facts where the test names none."""

from pathlib import Path
from typing import Any

from mmr.release.bundle import seal
from mmr.release.manifest import ReleaseManifest


def seal_release(
    release: Path,
    *,
    fingerprint: str,
    dim: int,
    created_at: str = "2026-01-01T00:00:00Z",
    **facts: Any,
) -> ReleaseManifest:
    """Seals a directory as a release that its gate let pass; `facts` replace the plain ones."""
    plain = {
        "encoder_fingerprint": fingerprint,
        "dim": dim,
        "dataset_hash": "d" * 64,
        "dataset_revision": None,
        "git_revision": None,
        "mlflow_run_id": None,
        "metrics": {},
        "gate_decision": "promote",
    }
    return seal(release, created_at=created_at, content=plain | facts)
