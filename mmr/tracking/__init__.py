"""Experiment tracking and the release registry. The only package that imports MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmr.tracking.in_memory import InMemoryTracking, LoggedRun
from mmr.tracking.protocols import (
    CANDIDATE,
    CHAMPION,
    DELETED,
    PREVIOUS,
    AuditRecord,
    Parameter,
    RegisteredRelease,
    Registry,
    Tracker,
)

if TYPE_CHECKING:
    from mmr.tracking.mlflow_tracking import MlflowTracking

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "DELETED",
    "PREVIOUS",
    "AuditRecord",
    "InMemoryTracking",
    "LoggedRun",
    "Parameter",
    "RegisteredRelease",
    "Registry",
    "Tracker",
    "open_tracking",
]


def open_tracking(uri: str, *, audit_file: Path | None = None) -> MlflowTracking:
    """Opens an MLflow store, making a new SQLite one if need be.

    The first use of a SQLite store creates its tables (3 to 10 s); after that about 2 s, most of
    it the import of MLflow.

    Args:
        uri: `Workspace.tracking_uri`, or the user's MLFLOW_TRACKING_URI.
        audit_file: Where audit records are mirrored as lines of JSON; beside a SQLite file if None.

    Raises:
        TrackingError: The store cannot be reached (within 20 s) or is of a kind that MLflow has
            retired.
    """
    from mmr.tracking.connection import check_reachable, import_mlflow

    import_mlflow()
    check_reachable(uri)
    from mmr.tracking.mlflow_tracking import MlflowTracking

    return MlflowTracking(uri, audit_file=audit_file)
