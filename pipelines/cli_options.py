"""Options that several commands of the pipelines share."""

from enum import StrEnum
from typing import Annotated

import typer


class PipelineName(StrEnum):
    """The pipelines that can be compiled and scheduled."""

    RETRAIN = "retrain"
    REFRESH = "refresh"


GpusOption = Annotated[int, typer.Option(min=0, help="GPUs of each heavy step on a cluster.")]
CpuOption = Annotated[str, typer.Option(help="CPU limit of each heavy step on a cluster.")]
MemoryOption = Annotated[str, typer.Option(help="Memory limit of each heavy step on a cluster.")]
VolumeClaimOption = Annotated[
    str, typer.Option(help="PersistentVolumeClaim that holds the workspace on a cluster.")
]
VolumePathOption = Annotated[
    str, typer.Option(help="Where every step mounts it; workspace and feeds lie below.")
]
