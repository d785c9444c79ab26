"""The commands of the pipelines, joined to `mmr` by its entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines import cli_monitor, cli_schedule
from pipelines.cli_options import (
    CpuOption,
    GpusOption,
    MemoryOption,
    PipelineName,
    VolumeClaimOption,
    VolumePathOption,
)

_RUN_EXAMPLES = """**Examples:**

    mmr run data/prepared --preset quick

    mmr run data/prepared --preset laptop --workspace shop --no-deploy

    mmr run showroom:products=500,queries=120 --preset quick --search "red vase"

    mmr run data/prepared --preset my-settings.yaml --seed 11

    mmr run data/prepared --preset quick --gate gate.yaml
"""

_REFRESH_EXAMPLES = """**Examples:**

    mmr refresh data/tonight

    mmr refresh feed/ --workspace shop --no-deploy

    mmr refresh feed/ --set max_removed_share=0.3 --set metric_margin=0.01
"""

_COMPILE_EXAMPLES = """**Examples:**

    mmr compile --out build/retrain.yaml

    mmr compile refresh --out build/refresh.yaml

    mmr compile --out build/retrain.yaml --gpus 1 --memory 32G --volume-claim shop-data
"""


def register(app: typer.Typer) -> None:
    """Adds the commands of this package to the root app."""
    app.command(epilog=_RUN_EXAMPLES)(run)
    app.command(epilog=_REFRESH_EXAMPLES)(refresh)
    app.command(name="compile", epilog=_COMPILE_EXAMPLES)(compile_pipeline)
    cli_schedule.register(app)
    cli_monitor.register(app)


def run(
    dataset: Annotated[
        str,
        typer.Argument(
            help="A prepared dataset, any dataset or feed, or `showroom:products=N,queries=M`."
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="`quick`, `laptop`, or a YAML file with settings.")
    ] = "laptop",
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Where runs and releases live.")
    ] = Path("workspace"),
    deploy: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="Put a promoted release into Triton.")
    ] = True,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="Query to show at the end; may be given again. Default: three of the "
            "dataset's validation queries."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Replaces the seed of the settings.")
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(help="YAML file with the gate's policy; replaces that of the settings."),
    ] = None,
    port_base: Annotated[
        int,
        typer.Option(
            min=1, max=65533, help="Triton's HTTP port if it must be started; gRPC is the next one."
        ),
    ] = 8000,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow; default: SQLite inside the workspace."
        ),
    ] = None,
) -> None:
    """Run the whole pipeline on this machine: train, prove, release, deploy, search.

    The same pipeline that runs on Kubeflow, step by step in processes of its own. Steps whose
    inputs, settings and code have not changed are answered from the step cache; a run that was
    killed goes on where it stopped when you start it again.

    The gate decides: a candidate that is significantly better than the champion is promoted, a
    release on `hold` waits for a person, a rejected candidate is not built at all.
    """
    from pipelines.launch import RunRequest, launch

    launch(
        RunRequest(
            source=dataset,
            preset=preset,
            workspace=workspace,
            deploy=deploy,
            searches=tuple(search or ()),
            seed=seed,
            gate=gate,
            tracking_uri=tracking_uri,
            port_base=port_base,
        )
    )


def refresh(
    feed: Annotated[
        str,
        typer.Argument(
            help="The whole catalogue as it is now: a feed or a dataset. Queries and judgements "
            "are welcome and not needed.",
            show_default=False,
        ),
    ],
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Where the champion lives.")
    ] = Path("workspace"),
    deploy: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="Put the new release into Triton.")
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A limit of the check. Repeatable."),
    ] = None,
    port_base: Annotated[
        int,
        typer.Option(
            min=1, max=65533, help="Triton's HTTP port if it must be started; gRPC is the next one."
        ),
    ] = 8000,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow; default: SQLite inside the workspace."
        ),
    ] = None,
) -> None:
    """Take new, changed and removed products into production, without training.

    New and changed products are embedded with the champion's own product encoder; the vectors of
    all others are taken over. The result is a release like any other: checked against the champion,
    registered with its origin, deployed, promoted, and rolled back by `mmr rollback`.

    A product that is not in the feed is removed. A feed that lacks too many of the champion's
    products is refused, and so is one that loses texts, images or known answers. Where nothing
    changed, there is no new release.
    """
    from mmr.cli_data import checked, pairs
    from mmr.config.refresh import RefreshConfig
    from pipelines.refresh_run import RefreshRequest, launch_refresh

    launch_refresh(
        RefreshRequest(
            source=feed,
            workspace=workspace,
            settings=checked(RefreshConfig, **pairs(settings or [], option="--set")),
            deploy=deploy,
            tracking_uri=tracking_uri,
            port_base=port_base,
        )
    )


def compile_pipeline(
    out: Annotated[Path, typer.Option(help="IR YAML file to write.")],
    pipeline: Annotated[PipelineName, typer.Argument(help="Which.")] = PipelineName.RETRAIN,
    gpus: GpusOption = 0,
    cpu: CpuOption = "4",
    memory: MemoryOption = "16G",
    volume_claim: VolumeClaimOption = "mmr-workspace",
    volume_path: VolumePathOption = "/mnt/mmr",
) -> None:
    """Compile a pipeline for a Kubeflow cluster.

    The image of the steps is read from the environment variable MMR_IMAGE; give a digest, because
    Kubeflow's step cache does not see that a tag has moved.
    """
    from mmr.atomic import write_text
    from pipelines.compilation import compile_ir
    from pipelines.definitions import build_pipeline
    from pipelines.resources import Resources, Volume

    resources = Resources(
        cpu=cpu, memory=memory, gpus=gpus, volume=Volume(claim=volume_claim, path=volume_path)
    )
    write_text(out, compile_ir(build_pipeline(pipeline.value, resources)))
    typer.echo(f"Wrote {out}")
