"""The console script `mmr`: joins the commands of every package and reports errors in one line."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated

import typer

from mmr import __version__
from mmr.disk import full_disk_message
from mmr.errors import MmrError

# In the order of the flow: so `mmr --help` reads from the feed to the released search.
_COMMAND_MODULES = (
    "mmr.cli_showroom",
    "mmr.cli_data",
    "mmr.cli_train",
    "mmr.cli_evaluate",
    "mmr.cli_explain",
    "mmr.cli_ablate",
    "mmr.cli_release",
)
_ENTRY_POINT_GROUP = "mmr.commands"  # pipelines and serving join here: mmr imports neither


def build_app() -> typer.Typer:
    """Builds the root app with every installed command.

    Command modules import nothing heavy at their top, which keeps `mmr --help` fast.
    """
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in _COMMAND_MODULES:
        import_module(name).register(app)
    for entry_point in sorted(entry_points(group=_ENTRY_POINT_GROUP), key=lambda e: e.name):
        entry_point.load()(app)
    return app


def main() -> None:
    """Runs the command line: an error the user can act on is one line and exit status 1."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # vendors' warnings; `python -W default -m mmr` shows them
    try:
        build_app()(prog_name="mmr")
    except MmrError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        message = full_disk_message(error)
        if message is None:
            raise
        _fail(message)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmr {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Multimodal product retrieval: train, prove and ship a product search.

    The flow: **import** a feed, **prepare** and **validate** the dataset, **run** the pipeline
    (train, evaluate, index, release, deploy), then **search**.
    """


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
