"""Looks at everything, and repairs what it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import MmrError
from mmr.workspace import Workspace
from serving.doctor.agreement import Agreement, check_agreement
from serving.doctor.audit import check_audit
from serving.doctor.environment import check_environment
from serving.doctor.finding import Finding, Level
from serving.doctor.releases import check_releases
from serving.doctor.server import check_leftovers, check_server
from serving.doctor.workspace import check_workspace
from serving.repository import ModelRepository
from serving.settings import ServeSettings

if TYPE_CHECKING:
    from mmr.tracking import Registry


@dataclass(frozen=True)
class Patient:
    """What is to be looked at.

    Attributes:
        path: The workspace.
        open_registry: Opens its registry.
        serve: The ports that a start of the server would use.
        triton_venv: See `TritonVenv.locate`.
        hashes: Whether every file of every release is hashed.
    """

    path: Path
    open_registry: Callable[[Workspace], Registry]
    serve: ServeSettings
    triton_venv: Path | None = None
    hashes: bool = True


def diagnose(patient: Patient) -> Iterator[Finding]:
    """Every finding, good and bad, in the order environment, workspace, serving, releases."""
    serves = (patient.path / "serving" / "active.json").is_file()
    yield from check_environment(patient.path, triton_venv=patient.triton_venv, serves=serves)
    if not patient.path.exists():
        yield Finding(
            "workspace", Level.OK, f"{patient.path} does not exist yet; `mmr run` makes it"
        )
        return
    try:
        workspace = Workspace.open(patient.path)
    except MmrError as error:
        yield Finding("workspace", Level.ERROR, str(error), "Name the right one with --workspace.")
        return
    yield from check_workspace(workspace)
    yield from _served(patient, workspace)


def _served(patient: Patient, workspace: Workspace) -> Iterator[Finding]:
    registry = None
    try:
        ModelRepository(workspace.serving).active()
        yield from check_server(workspace, serve=patient.serve)
        registry = patient.open_registry(workspace)
        registered = registry.releases()
    except MmrError as error:
        area = "serving" if registry is None and "active.json" in str(error) else "registry"
        yield Finding(area, Level.ERROR, str(error), "Follow the message, then look again.")
        if area == "registry":
            yield from check_leftovers(workspace)
        yield from check_releases(workspace, None, hashes=patient.hashes)
        return
    yield from check_agreement(Agreement(workspace, registry, patient.serve, patient.triton_venv))
    yield from check_leftovers(workspace)
    yield from check_audit(registry)
    yield from check_releases(workspace, registered, hashes=patient.hashes)


def repair(findings: list[Finding]) -> Iterator[str]:
    """Repairs what can be repaired, one by one, and says what became of each."""
    for finding in findings:
        if finding.repair is None:
            continue
        try:
            yield f"repaired: {finding.repair()}"
        except MmrError as error:
            yield f"not repaired ({finding.what}): {error}"
