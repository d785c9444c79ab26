"""The `showroom` command: a generated catalogue to try everything on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """
Examples:

  mmr showroom --out data/showroom

  mmr showroom --products 3000 --queries 400 --seed 7 --px 96 --out data/showroom

  mmr showroom --products 500 --set colour_withheld=0.9 --set image_missing=0.2 --out data/sparse
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the root app."""
    app.command(epilog=_EXAMPLES)(showroom)


def showroom(
    out: Annotated[Path, typer.Option(help="Dataset directory to create.", show_default=False)],
    products: Annotated[int, typer.Option(min=1, help="Products in the catalogue.")] = 3000,
    queries: Annotated[int, typer.Option(min=0, help="Queries wanted.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    px: Annotated[int, typer.Option(help="Side of the square photographs, pixels.")] = 96,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other setting, such as colour_withheld=0.9. May be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Rendering processes; they change only the speed."),
    ] = None,
) -> None:
    """Render a generated home-decor catalogue: products, photographs, queries, judgements.

    The drawings show type, colour, pattern, material and shape; the sellers' texts withhold or
    mistake some of it, at rates that --set changes. The same settings give the same dataset.
    Figures measured on it are figures of a generated catalogue: say so where you show them.
    """
    from mmr.config.showroom import parse_showroom_source
    from mmr.stages.showroom import render_showroom

    given = [f"products={products}", f"queries={queries}", f"seed={seed}", f"px={px}"]
    report = render_showroom(
        out=out,
        settings=parse_showroom_source("showroom:" + ",".join([*given, *(settings or [])])),
        workers=workers,
    )
    typer.echo(
        f"{out}: {report.products} products ({report.products_without_image} without image), "
        f"{report.queries} queries, {report.judgements} judgements, "
        f"content hash {report.content_hash[:12]}"
    )
    if report.queries < report.queries_wanted:
        typer.echo(
            f"Only {report.queries} of {report.queries_wanted} queries were possible: "
            "the catalogue is too small for more. Raise --products.",
            err=True,
        )
