"""The commands `mmr ablate` and `mmr results`: what each part of the system brings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mmr.config.run import RunSettings

_LOG_WIDTH = 120  # characters of a table where there is no terminal to ask

_ABLATE_EXAMPLES = """
**Examples:**

`mmr ablate data/prepared --ladder paper --seeds 3 --jobs 3`

`mmr ablate data/prepared --ladder techniques --only modality-dropout --only augmentation`

`mmr ablate data/prepared --ladder fusion --plan`

`mmr ablate showroom:products=500 --ladder robustness --preset quick`
"""

_RESULTS_EXAMPLES = """
**Examples:**

`mmr results workspace --out docs/results.md`

`mmr results shop-home shop-fashion --out docs/results.md --readme README.md`
"""


def register(app: typer.Typer) -> None:
    """Adds the commands to the root app."""
    app.command("ablate", epilog=_ABLATE_EXAMPLES)(ablate)
    app.command("results", epilog=_RESULTS_EXAMPLES)(results)


def ablate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Prepared dataset, dataset, feed, or `showroom:products=500`.", show_default=False
        ),
    ],
    ladder: Annotated[
        str,
        typer.Option(help="paper, fusion, techniques, vision-size, staging or robustness."),
    ] = "paper",
    seeds: Annotated[int, typer.Option(help="How many seeds, from the first one on.")] = 1,
    seed: Annotated[
        int | None, typer.Option(help="The first seed; the preset's when not given.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="Seeds climbed at once, each by a process with its share of the cores "
            "(about 2 GiB each on 44,000 products)."
        ),
    ] = 1,
    preset: Annotated[
        str, typer.Option(help="Preset (quick, laptop) or a YAML file of settings.")
    ] = "laptop",
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Caches and results are kept there.")
    ] = Path("workspace"),
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUNG",
            help="Measure this rung alone, with what it is compared with. May be repeated.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the rungs and what they share; train nothing.")
    ] = False,
) -> None:
    """Train the rungs of a ladder, measure each, and compare it with the one below it.

    Every rung is ranked on all validation queries over the whole catalogue, overall and slice by
    slice, with paired tests; over several seeds, with their spread. Rungs share every stage that
    they have in common, and a command that was killed goes on where it stopped.

    Written to WORKSPACE/ablations/LADDER-DATASET: results.json, table.md, table.csv, plot.svg,
    per_query.parquet. With --only, to LADDER-DATASET-partial.
    """
    from rich.console import Console

    from mmr.config.run import load_settings

    settings = load_settings(preset)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    if plan:
        _show_plan(ladder, settings, only or [])
        return
    from mmr.ablation.climb import LadderRequest
    from mmr.ablation.run import run_ladder

    request = LadderRequest(
        source=dataset,
        ladder=ladder,
        settings=settings,
        preset=Path(preset).name,
        seeds=seeds,
        only=tuple(only or ()),
        workspace=workspace,
        jobs=jobs,
    )
    out, record = run_ladder(request, show=lambda line: typer.echo(line, err=True))
    _show_record(record, Console(width=None if sys.stdout.isatty() else _LOG_WIDTH))
    typer.echo(f"written to {out}")


def results(
    workspaces: Annotated[
        list[Path],
        typer.Argument(
            help="Workspaces whose ablations are shown.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Markdown page to write, with its plots beside it.")],
    readme: Annotated[
        Path | None,
        typer.Option(help="Also put the paper ladder between the markers of this file."),
    ] = None,
) -> None:
    """Render the stored results of `mmr ablate` as one page, with the commands that make them.

    Ladders that the page shows already and none of the workspaces has stay on it.
    """
    from mmr.ablation.page import write_page

    shown = write_page(workspaces, out, readme=readme)
    typer.echo(f"{out}: {', '.join(shown) or 'no results yet'}")


def _show_plan(ladder: str, settings: RunSettings, only: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from mmr.ablation.run import plan_ladder

    table = Table("rung", "what it is", "compared with", "trains", "shares")
    for planned in plan_ladder(ladder, settings, only):
        rung = planned.rung
        cells = (
            rung.name,
            f"{rung.title}: {rung.description}",
            rung.against or "",
            ", ".join(planned.own),
            ", ".join(planned.shared),
        )
        table.add_row(*map(escape, cells))
    Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(table)


def _show_record(record: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mmr.ablation import tables

    name = f"{record['ladder']} on {record['dataset']['name']}"
    metrics = (f"{name}, {tables.seed_words(record['seeds'])}", *tables.metric_table(record))
    gains = ("paired gains", *tables.gain_table(record))
    slices = ("by slice (queries)", *tables.slice_values(record))
    for title, titles, rows in (metrics, gains, slices):
        table = Table(title=escape(title), title_justify="left")
        for column in titles:
            table.add_column(escape(column), justify="left" if column == "rung" else "right")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for line in tables.remarks(record):
        console.print(line, markup=False)
    console.print(tables.reading(record), markup=False)
