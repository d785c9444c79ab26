"""The commands that change what serves: deploy, promote, rollback; and prune, which must not."""

from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import (
    DEFAULT_WORKSPACE,
    PortBaseOption,
    TrackingOption,
    TritonVenvOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from mmr.release.bundle import Release
    from mmr.release.prune import PrunePlan
    from mmr.tracking import Registry
    from mmr.workspace import Workspace
    from serving.deploy import DeployReport
    from serving.rollout import Promotion

ReleaseArgument = Annotated[
    str,
    typer.Argument(
        help="Release id or its beginning, its directory, or an alias such as `champion`.",
        show_default=False,
    ),
]
_NONE = "none"

_DEPLOY_EXAMPLES = """
Examples:

  mmr deploy 3f9a0c1be2d47788                          a release of the workspace

  mmr deploy champion                                  what the registry calls champion

  mmr deploy /mnt/releases/3f9a0c1be2d47788 --why "fixed prices"
"""
_PROMOTE_EXAMPLES = """
Examples:

  mmr promote candidate --expect champion --why "approved by the search team"

  mmr promote 3f9a0c1be2d47788 --expect 1f3870be274f6c49 --why "fixed prices"

  mmr promote candidate --expect none --why "the first release"
"""
_ROLLBACK_EXAMPLES = """
Examples:

  mmr rollback

  mmr rollback --why "no results for garden chairs"
"""
_PRUNE_EXAMPLES = """
Examples:

  mmr prune --keep 5                        show what would go, and ask

  mmr prune --keep 5 --yes                  for schedules: do not ask

  mmr prune --release 3f9a0c1be2d47788      this one alone
"""


def register(app: typer.Typer) -> None:
    """Adds the commands to the root command."""
    app.command(epilog=_DEPLOY_EXAMPLES)(deploy)
    app.command(epilog=_PROMOTE_EXAMPLES)(promote)
    app.command(epilog=_ROLLBACK_EXAMPLES)(rollback)
    app.command(epilog=_PRUNE_EXAMPLES)(prune)


def deploy(
    release: ReleaseArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    why: Annotated[str, typer.Option(help="Goes into the record of promotions.")] = "by hand",
    port_base: PortBaseOption = 8000,
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Put a release into production: load it, verify it, switch to it.

    The release is loaded beside the one that serves and must give the recorded answers to its
    golden queries before it gets any traffic. The server is started if it does not run. `mmr
    rollback` goes back to the release before.
    """
    from serving import deploy as deployment
    from serving.settings import ServeSettings

    place, registry = _open(workspace, tracking_uri)
    report = deployment.deploy(
        _find(place, registry, release).path,
        workspace=place,
        registry=registry,
        why=why,
        who=getuser(),
        serve=ServeSettings.from_port_base(port_base),
        triton_venv=triton_venv,
    )
    _tell(report)


def promote(
    release: ReleaseArgument,
    expect: Annotated[
        str,
        typer.Option(
            help="The champion that you compared with: its id, the beginning of it, `champion` for "
            "whatever it is, or `none`. Another champion refuses the promotion.",
            show_default=False,
        ),
    ],
    why: Annotated[str, typer.Option(help="Goes into the record.", show_default=False)],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Make a release the champion, if the champion is still the one you expect.

    When a server of the workspace runs, this is a deployment: load, verify, switch, then move the
    alias. When none runs, only the alias moves, and a server started later loads the release
    that was deployed last; the command says so if that is another one.
    """
    from serving import deploy as deployment
    from serving.rollout import Promotion

    place, registry = _open(workspace, tracking_uri)
    found = _find(place, registry, release)
    expected = _expected(expect, registry)
    if _server_runs(place):
        report = deployment.deploy(
            found.path,
            workspace=place,
            registry=registry,
            why=why,
            who=getuser(),
            expected=deployment.ExpectedChampion(expected),
            triton_venv=triton_venv,
        )
        _tell(report)
    else:
        found.verify()
        _move_alias(place, registry, found.release_id, Promotion(expected, why, getuser()))


def rollback(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    why: Annotated[str, typer.Option(help="Goes into the record.")] = "rolled back by hand",
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Put the release that was champion before back into production, in seconds.

    Nothing is rebuilt, and usually nothing is loaded: a deployment keeps the version that it
    replaced, which answers its golden queries and takes over. Without a running server only
    the aliases move.
    """
    from mmr.tracking.protocols import CHAMPION
    from serving.rollback import roll_back, rollback_target
    from serving.rollout import Promotion

    place, registry = _open(workspace, tracking_uri)
    if _server_runs(place):
        _tell(
            roll_back(
                workspace=place, registry=registry, why=why, who=getuser(), triton_venv=triton_venv
            )
        )
    else:
        target = _find(place, registry, rollback_target(registry))
        target.verify()
        promotion = Promotion(registry.resolve(CHAMPION), why, getuser(), "rollback")
        _move_alias(place, registry, target.release_id, promotion)


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

    A release that an alias names, or that serves or is kept loaded, always stays, and does not
    count. The registry remembers the others as deleted. With --release, one that may not be
    removed is an error.
    """
    from mmr.errors import ConfigError
    from mmr.release.prune import delete_release, plan_prune
    from serving.deploy_lock import deploy_lock
    from serving.unserved import in_use

    if (keep is None) == (release is None):
        raise ConfigError("Give either --keep N or --release ID: what shall be removed?")
    place, registry = _open(workspace, tracking_uri)
    if release is not None:
        wanted = [_find(place, registry, release).release_id]
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


def _open(workspace: Path, tracking_uri: str | None) -> tuple["Workspace", "Registry"]:
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    place = Workspace.open(workspace)
    return place, open_tracking(tracking_uri or place.tracking_uri, audit_file=place.audit_file)


def _find(place: "Workspace", registry: "Registry", name: str) -> "Release":
    from mmr.release.lookup import find_release

    return find_release(place.releases, name, resolve=registry.resolve)


def _server_runs(place: "Workspace") -> bool:
    from serving.process import ServerRecord

    return ServerRecord(place.serving).running() is not None


def _expected(expect: str, registry: "Registry") -> str | None:
    """The full id of the champion if it is the one meant; else what the user wrote."""
    from mmr.tracking.protocols import CHAMPION

    champion = registry.resolve(CHAMPION)
    if expect == CHAMPION or (champion and expect and champion.startswith(expect)):
        return champion
    return None if expect == _NONE else expect


def _move_alias(
    place: "Workspace", registry: "Registry", release_id: str, promotion: "Promotion"
) -> None:
    from serving.repository import ModelRepository
    from serving.unserved import promote_unserved

    ready = promote_unserved(release_id, workspace=place, registry=registry, promotion=promotion)
    typer.echo(f"Release {release_id} is champion; before: {promotion.expected or 'none'}.")
    active = ModelRepository(place.serving).active()
    if ready:
        typer.echo("The server does not run. `mmr serve` starts it with this release.")
    elif active:
        typer.echo(
            f"The server does not run. `mmr serve` would start it with {active.release_id}, the "
            "release deployed last; `mmr deploy champion` starts it with the champion."
        )
    else:
        typer.echo("Nothing serves yet. `mmr deploy champion` starts a server with it.")


def _show_plan(plan: "PrunePlan") -> None:
    for release_id, reason in plan.keep.items():
        typer.echo(f"stays  {release_id}  {reason}")
    for release_id, size in plan.remove.items():
        typer.echo(f"goes   {release_id}  {size / 1e6:.0f} MB")
    if not plan.remove:
        typer.echo("Nothing to remove.")


def _tell(report: "DeployReport") -> None:
    if report.golden is None:
        typer.echo(f"Release {report.release_id} serves already as version {report.version}.")
        return
    typer.echo(
        f"Release {report.release_id} serves as version {report.version} at {report.grpc_url} "
        f"(gRPC) after {report.seconds:.1f} s; before: {report.previous_release_id or 'nothing'}."
    )
    typer.echo(
        f"{report.golden.queries} golden queries: cosine distance at most "
        f"{report.golden.max_cosine_distance:.1e}, at least {report.golden.min_overlap:.0%} of the "
        f"recorded products, median {report.golden.median_ms:.1f} ms."
    )
