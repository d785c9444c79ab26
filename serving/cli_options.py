"""Options that several serving commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
