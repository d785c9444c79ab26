"""The `train` commands: each training stage by itself, as the pipeline runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmr.config.run import RunSettings
    from mmr.stages.stage_report import StageReport

_EXAMPLES = """
Examples:

  mmr train text-only data/prepared --out models/text

  mmr train vision data/prepared --start models/text --out models/vision

  mmr train align data/prepared --start models/vision --out models/aligned

  mmr train fusion data/prepared --start models/aligned --out models/fused

  mmr train embed data/prepared --start models/fused --out vectors
"""

DatasetArgument = Annotated[
    Path, typer.Argument(help="Prepared dataset.", exists=True, file_okay=False)
]
StartOption = Annotated[
    Path,
    typer.Option("--start", help="Model to start from.", exists=True, file_okay=False),
]
OutOption = Annotated[Path, typer.Option(help="Directory to write.", show_default=False)]
PresetOption = Annotated[
    str, typer.Option(help="Preset (quick, laptop) or a YAML file of settings.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed; the preset's when not given.")]
WorkspaceOption = Annotated[
    Path, typer.Option(envvar="MMR_WORKSPACE", help="Caches and checkpoints are kept there.")
]

_WORKSPACE = Path("workspace")


def register(app: typer.Typer) -> None:
    """Adds the commands to the root app."""
    train = typer.Typer(no_args_is_help=True, help="Run one training stage by itself.")
    train.command("text-only", epilog=_EXAMPLES)(text_only)
    train.command("vision", epilog=_EXAMPLES)(vision)
    train.command("align", epilog=_EXAMPLES)(align)
    train.command("fusion", epilog=_EXAMPLES)(fusion)
    train.command("embed", epilog=_EXAMPLES)(embed)
    app.add_typer(train, name="train", epilog=_EXAMPLES)


def text_only(
    dataset: DatasetArgument,
    out: OutOption,
    preset: PresetOption = "laptop",
    seed: SeedOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Tune the text-only towers: the baseline that every gain is claimed against."""
    from mmr import stages

    settings = _settings(preset, seed).text_only_stage
    _show(
        stages.train_text_only(dataset=dataset, out=out, settings=settings, cache=_cache(workspace))
    )


def vision(
    dataset: DatasetArgument,
    start: StartOption,
    out: OutOption,
    preset: PresetOption = "laptop",
    seed: SeedOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Stage A: teach the vision backbone the shop's domain, from photographs and product texts."""
    from mmr import stages

    settings = _settings(preset, seed).vision_stage
    _show(
        stages.finetune_vision(
            dataset=dataset, text_only=start, out=out, settings=settings, cache=_cache(workspace)
        )
    )


def align(
    dataset: DatasetArgument,
    start: StartOption,
    out: OutOption,
    preset: PresetOption = "laptop",
    seed: SeedOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Stage B: align queries with product text and with product image."""
    from mmr import stages

    settings = _settings(preset, seed).align_stage
    _show(
        stages.align_queries(
            dataset=dataset, vision=start, out=out, settings=settings, cache=_cache(workspace)
        )
    )


def fusion(
    dataset: DatasetArgument,
    start: StartOption,
    out: OutOption,
    preset: PresetOption = "laptop",
    seed: SeedOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Stage C: train the fusion network, on the product side only."""
    from mmr import stages

    settings = _settings(preset, seed).fusion_stage
    _show(
        stages.train_fusion(
            dataset=dataset, aligned=start, out=out, settings=settings, cache=_cache(workspace)
        )
    )


def embed(
    dataset: DatasetArgument,
    start: StartOption,
    out: OutOption,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Embed all products with a model; `mmr run` builds its index from such vectors."""
    from mmr import stages

    report = stages.embed_catalogue(dataset=dataset, model=start, out=out, cache=_cache(workspace))
    typer.echo(f"{out}: {report.products} products, {report.dim} dimensions")


def _settings(preset: str, seed: int | None) -> RunSettings:
    from mmr.config.run import load_settings

    settings = load_settings(preset)
    return settings if seed is None else settings.model_copy(update={"seed": seed})


def _cache(workspace: Path) -> Path:
    from mmr.training.processes import is_main, wait_for_all
    from mmr.workspace import Workspace

    if is_main():
        Workspace.open(workspace, create=True)
    wait_for_all()
    return Workspace.open(workspace).cache


def _show(report: StageReport) -> None:
    from mmr.training.processes import is_main

    if not is_main():
        return
    how = "kept from before" if report.reused else f"{report.steps} steps"
    typer.echo(
        f"{report.stage}: validation NDCG@10 {report.validation.ndcg_at_10:.4f} at step "
        f"{report.best_step} ({how}, {report.seconds:.0f} s)"
    )
    if report.share is not None:
        typer.echo(
            f"{report.share:.2f} of what the fusion learnt is kept, the rest is its start, so as "
            "to find no less than without it."
        )
    if report.drawn_back is not None:
        typer.echo(
            "Drawn back towards the text, so as to find no less than without the image: "
            f"{report.drawn_back:.2f} of the concatenation is kept."
        )
    if report.adoption is not None:
        found = report.adoption
        verdict = "kept" if found.adopted else "left out"
        typer.echo(
            f"Without the stage: {found.before}. With it: {found.after}. So it is {verdict}."
        )
