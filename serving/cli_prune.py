"""The command `mmr prune`, which must not change what serves."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import (
    DEFAULT_WORKSPACE,
    TrackingOption,
    WorkspaceOption,
    open_registry,
)

if TYPE_CHECKING:
    from mmr.release.prune import PrunePlan
    from mmr.tracking import Registry
    from mmr.workspace import Workspace

_PRUNE_EXAMPLES = """
Examples:

  mmr prune --keep 5                        show what would go, and ask

  mmr prune --keep 5 --yes                  for schedules: do not ask

  mmr prune --release 3f9a0c1be2d47788      this one alone
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the root command."""
    app.command(epilog=_PRUNE_EXAMPLES)(prune)


def prune(
    keep: Annotated[
        int | None, typer.Option(min=1, help="Releases that stay: so many of the newest.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Remove this release alone.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    tracking_uri: TrackingOption = None,
) -> None:
    """Remove old releases from disk.

    The newest stay, and so does every release that an alias names, that serves, that is kept
    loaded or on trial, however old it is. The registry remembers the others as deleted. With
    --release, one that may not be removed is an error.
    """
    from mmr.errors import ConfigError
    from mmr.release.prune import delete_release, plan_prune
    from serving.deploy_lock import deploy_lock
    from serving.unserved import in_use

    if (keep is None) == (release is None):
        raise ConfigError("Give either --keep N or --release ID: what shall be removed?")
    place, registry = open_registry(workspace, tracking_uri)
    if release is not None:
        wanted = [_named(release, place, registry)]
    else:
        plan = plan_prune(place.releases, registry, keep=keep or 1, in_use=in_use(place))
        _show_plan(plan)
        wanted = list(plan.remove)
    if not wanted:
        return
    if not yes:
        typer.confirm(f"Remove {', '.join(wanted)} from disk for good?", abort=True)
    with deploy_lock(place):
        for release_id in wanted:
            delete_release(place.releases, registry, release_id, in_use=in_use(place))
            typer.echo(f"Release {release_id} removed.")


def _named(release: str, place: "Workspace", registry: "Registry") -> str:
    """The id of the release that is meant; a damaged one, which cannot be opened, has one too."""
    from mmr.release.lookup import find_directory

    return find_directory(place.releases, release, resolve=registry.resolve).resolve().name


def _show_plan(plan: "PrunePlan") -> None:
    for release_id, reason in plan.keep.items():
        typer.echo(f"stays  {release_id}  {reason}")
    for release_id, size in plan.remove.items():
        typer.echo(f"goes   {release_id}  {size / 1e6:.0f} MB")
    if not plan.remove:
        typer.echo("Nothing to remove.")
