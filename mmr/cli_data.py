"""The commands from a shop's feed to a checked dataset: import, prepare, validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from mmr.config.base import Settings

    _Settings = TypeVar("_Settings", bound=Settings)

Force = Annotated[bool, typer.Option("--force", help="Replace a dataset that stands at --out.")]
Dataset = Annotated[Path, typer.Argument(help="The dataset.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands to the root app."""
    app.command("import", epilog=_IMPORT_EXAMPLES)(import_command)
    app.command("prepare", epilog=_PREPARE_EXAMPLES)(prepare_command)
    app.command("validate", epilog=_VALIDATE_EXAMPLES)(validate_command)


_IMPORT_EXAMPLES = """
**Examples:**

`mmr import feed/ --out data/imported`

`mmr import shop.csv --out data/imported --map product_id=sku --map title=name --images photos/`

`mmr import shop.parquet --queries log.jsonl --judgements clicks.tsv --out data/imported`

`mmr import showroom:products=1500,queries=300,seed=7 --out data/imported`
"""


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            help="A product file (CSV, TSV, JSONL, Parquet), a directory with `products.*`, "
            "`queries.*` and `judgements.*`, or showroom:products=N,queries=M,seed=S.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the dataset to write.")],
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Column of a field. Repeatable."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Query file: query_id, query, optional kind and split.")
    ] = None,
    judgements: Annotated[
        Path | None,
        typer.Option(help="Judgement file: query_id, product_id, optional grade and weight."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Directory that image paths start from; without an image column, images are "
            "looked up as PRODUCT_ID.jpg (.jpeg, .png, .webp)."
        ),
    ] = None,
    max_rejects: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of a table's rows that may be rejected."),
    ] = 0.01,
    name: Annotated[str | None, typer.Option(help="Name of the dataset, for people.")] = None,
    force: Force = False,
) -> None:
    """Import a shop's feed into a dataset.

    Every row is checked and every image decoded once. Rejected rows are listed in
    OUT/rejected.jsonl with file, line, field and reason; more of them than --max-rejects stop the
    import with nothing written. Columns that mean no field become free attributes. An import that
    was interrupted leaves nothing behind and is run again with the same command.
    """
    from mmr.config.data import ImportConfig
    from mmr.stages.import_data import import_data

    settings = checked(
        ImportConfig,
        columns=pairs(columns or [], option="--map"),
        queries=queries,
        judgements=judgements,
        images=images,
        max_rejects=max_rejects,
        name=name,
    )
    report = import_data(source=source, out=out, settings=settings, replace=force)
    typer.echo(
        f"{report.out}: {report.products:,} products ({report.products_without_image:,} without "
        f"image), {report.queries:,} queries, {report.judgements:,} judgements"
    )
    for table, count in report.rejected.items():
        typer.echo(f"rejected {count:,} {table} rows, listed in {out / 'rejected.jsonl'}")
    for table, count in report.dropped.items():
        typer.echo(f"dropped {count:,} {table} rows that refer to rejected rows")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)


_PREPARE_EXAMPLES = """
**Examples:**

`mmr prepare data/imported --out data/prepared`

`mmr prepare data/imported --out data/prepared --image-px 128 --validation-share 0.3
--train-share 0.7`
"""


def prepare_command(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="Directory of the prepared dataset to write.")],
    image_px: Annotated[int, typer.Option(help="Longest image side kept, in pixels.")] = 224,
    train_share: Annotated[float, typer.Option(help="Share of the queries.")] = 0.8,
    validation_share: Annotated[float, typer.Option(help="Share of the queries.")] = 0.2,
    test_share: Annotated[float, typer.Option(help="Share of the queries.")] = 0.0,
    cold_start_share: Annotated[
        float, typer.Option(help="Share of title groups kept out of the train judgements.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Decides what falls where.")] = 7,
    force: Force = False,
) -> None:
    """Prepare a dataset for training: split the queries, bring images to one size.

    A split that the feed gives is respected, and the shares are then unused. Without one, queries
    that are equal but for case and spaces always share a split.
    """
    from mmr.config.data import PrepareConfig
    from mmr.stages.prepare import prepare

    settings = checked(
        PrepareConfig,
        image_px=image_px,
        train_share=train_share,
        validation_share=validation_share,
        test_share=test_share,
        cold_start_share=cold_start_share,
        seed=seed,
    )
    report = prepare(dataset=dataset, out=out, settings=settings, replace=force)
    done = "linked, prepared already" if report.linked else f"split {report.split}"
    typer.echo(
        f"{report.out}: {done}; {report.images_changed:,} images changed; "
        f"{report.cold_start_products:,} cold-start products, "
        f"{report.judgements_removed:,} train judgements taken out for them"
    )


_VALIDATE_EXAMPLES = """
**Examples:**

`mmr validate data/prepared --out reports/validation`

`mmr validate data/prepared --out reports/validation --previous data/last-week`

`mmr validate data/prepared --out reports/validation --set max_share_without_image=0.1
--set severity.products_with_image=error`
"""


def validate_command(
    dataset: Dataset,
    out: Annotated[
        Path, typer.Option(help="Directory for validation.json and data_docs/index.html.")
    ],
    previous: Annotated[
        Path | None, typer.Option(help="The dataset of the last run, to compare with.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A bound, or severity.EXPECTATION=error|warning. Repeatable.",
        ),
    ] = None,
) -> None:
    """Check a dataset before anything is trained on it.

    Rows, references, images, leaks between splits, and drift against a previous dataset. An
    expectation of severity *error* that fails stops with exit status 1 and names the rows; a
    *warning* is reported.
    """
    from mmr.config.data import ValidationConfig
    from mmr.stages.validate_data import validate_data

    values: dict[str, Any] = {}
    severity: dict[str, str] = {}
    for name, value in pairs(settings or [], option="--set").items():
        if name.startswith("severity."):
            severity[name.removeprefix("severity.")] = value
        else:
            values[name] = value
    report = validate_data(
        dataset=dataset,
        out=out,
        settings=checked(ValidationConfig, **values, severity=severity),
        previous=previous,
    )
    for result in report.warnings:
        typer.echo(f"warning: {result}", err=True)
    typer.echo(
        f"{len(report.results) - len(report.warnings)} of {len(report.results)} expectations hold; "
        f"read {report.out / 'data_docs' / 'index.html'}"
    )


def pairs(texts: list[str], *, option: str) -> dict[str, str]:
    """Reads NAME=VALUE texts of a repeatable option.

    Raises:
        ConfigError: One has another form.
    """
    from mmr.errors import ConfigError

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ConfigError(f"{option} {text!r} is not of the form NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found


def checked(kind: type[_Settings], **values: Any) -> _Settings:
    """Builds settings, with what is wrong told in one line per field.

    Raises:
        ConfigError: A value does not fit.
    """
    from pydantic import ValidationError

    from mmr.errors import ConfigError

    try:
        return kind(**values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, found['loc'])) or kind.__name__}: {found['msg']} "
            f"(given: {found['input']!r})"
            if found["loc"]
            else found["msg"]
            for found in error.errors()
        ]
        raise ConfigError("Settings do not fit: " + "; ".join(lines)) from error
