"""Options that several commands of the pipelines share."""

from enum import StrEnum
from typing import Annotated

import typer

from mmr.errors import ConfigError


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
HostOption = Annotated[
    str | None, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Of Kubeflow Pipelines.")
]
NamespaceOption = Annotated[
    str | None, typer.Option(help="Of the user, on a Kubeflow with several.")
]
TokenOption = Annotated[
    str | None, typer.Option(envvar="KFP_TOKEN", help="Bearer token.", show_default=False)
]
ExperimentOption = Annotated[str, typer.Option(help="Runs on Kubeflow are listed there.")]


def given_host(host: str | None) -> str:
    """The address of Kubeflow, which must be there to submit anything.

    Raises:
        ConfigError: It was not given.
    """
    if not host:
        raise ConfigError(
            "--to kubeflow needs --host, the address of Kubeflow Pipelines; --dry-run shows what "
            "would be submitted there."
        )
    return host
