"""The command `mmr ui`: the search page."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import DEFAULT_WORKSPACE, TrackingOption, WorkspaceOption

if TYPE_CHECKING:
    from mmr.workspace import Workspace

_NONE = "none"
_CANDIDATE = "candidate"
_EXAMPLES = """
Examples:

  mmr ui                                   what serves, beside the registry's candidate

  mmr ui --candidate 3f9a0c1be2d47788      beside another release

  mmr ui --candidate none --port 9000      what serves, alone

  mmr ui --url shop-triton:8001            a Triton elsewhere
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the root command."""
    app.command(epilog=_EXAMPLES)(ui)


def ui(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any free one.")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to bind. The page has no login: keep it on loopback.")
    ] = "127.0.0.1",
    candidate: Annotated[
        str,
        typer.Option(
            help="Release to compare with: an id, its beginning, a directory, an alias, or `none`."
        ),
    ] = _CANDIDATE,
    url: Annotated[
        str | None, typer.Option(help="host:port of Triton; the workspace's server by default.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Where the pictures are; the dataset of the release's run by default."),
    ] = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Open a search page: what production finds, beside what a candidate would find.

    Production is asked through Triton. The candidate is answered by this process, from its own
    encoder and index. Ctrl-C ends the page.
    """
    from mmr.errors import ConfigError
    from mmr.workspace import Workspace

    try:
        from serving.ui.run import PageSettings, open_shop, serve_page
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The page needs {error.name}. Install it: pip install 'mmr[ui]'."
        ) from error
    place = Workspace.open(workspace)
    settings = PageSettings(
        host=host,
        port=port,
        triton=url,
        candidate=_candidate(place, candidate, tracking_uri),
        dataset=dataset,
    )
    shop = open_shop(place, settings)
    if shop.pictures is None:
        typer.echo("No pictures: no run of this workspace prepared the dataset. Name it: --dataset")
    with contextlib.suppress(KeyboardInterrupt):
        serve_page(
            shop,
            settings,
            started=lambda address: typer.echo(f"Search page: {address}  (Ctrl-C ends it)"),
        )


def _candidate(workspace: "Workspace", name: str, tracking_uri: str | None) -> Path | None:
    """The release to compare with; without one the page shows what serves, alone."""
    from mmr.errors import TrackingError
    from mmr.release.lookup import find_release
    from mmr.tracking.deferred import DeferredTracking

    if name == _NONE:
        return None

    uri = tracking_uri or workspace.tracking_uri
    resolve = DeferredTracking(uri, audit_file=workspace.audit_file).resolve
    if name == _CANDIDATE:
        try:
            if resolve(name) is None:
                typer.echo("No release is candidate: the page shows what serves, alone.")
                return None
        except TrackingError as error:
            typer.echo(f"The candidate is not shown. {error}")
            return None
    return find_release(workspace.releases, name, resolve=resolve).path
