"""Options and look-ups that several serving commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmr.release.bundle import Release
    from mmr.tracking import Registry
    from mmr.workspace import Workspace

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace", envvar="MMR_WORKSPACE", help="Folder of runs, releases and servers."
    ),
]
TritonVenvOption = Annotated[
    Path | None,
    typer.Option(
        "--triton-venv",
        envvar="MMR_TRITON_VENV",
        help="Environment with nvidia-pytriton; .venv-triton by default.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow store; SQLite in the workspace by default.",
    ),
]
PortBaseOption = Annotated[
    int, typer.Option(min=1, max=65533, help="HTTP port; gRPC is the next, metrics the one after.")
]
DEFAULT_WORKSPACE = Path("workspace")


def open_registry(workspace: Path, tracking_uri: str | None) -> tuple["Workspace", "Registry"]:
    """The workspace and the registry that belongs to it."""
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    place = Workspace.open(workspace)
    return place, open_tracking(tracking_uri or place.tracking_uri, audit_file=place.audit_file)


def find(place: "Workspace", registry: "Registry", name: str) -> "Release":
    """A release by id, beginning, directory or alias."""
    from mmr.release.lookup import find_release

    return find_release(place.releases, name, resolve=registry.resolve)
