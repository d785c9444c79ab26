"""The commands that change what serves: deploy, promote, rollback."""

from getpass import getuser
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import (
    DEFAULT_WORKSPACE,
    PortBaseOption,
    TrackingOption,
    TritonVenvOption,
    WorkspaceOption,
    find,
    open_registry,
)

if TYPE_CHECKING:
    from mmr.tracking import Registry
    from mmr.workspace import Workspace
    from serving.deploy import DeployReport
    from serving.rollout import Promotion
    from serving.settings import ModelSettings

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

  mmr deploy champion --threads 4 --instances 2        other settings for what serves
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


def register(app: typer.Typer) -> None:
    """Adds the commands to the root command."""
    app.command(epilog=_DEPLOY_EXAMPLES)(deploy)
    app.command(epilog=_PROMOTE_EXAMPLES)(promote)
    app.command(epilog=_ROLLBACK_EXAMPLES)(rollback)


def deploy(
    release: ReleaseArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    why: Annotated[str, typer.Option(help="Goes into the record of promotions.")] = "by hand",
    port_base: PortBaseOption = 8000,
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one instance; kept for later.")
    ] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, help="Processes per model; kept for later.")
    ] = None,
    keep_warm: Annotated[
        float, typer.Option(min=0, help="Hours that the version before stays loaded.")
    ] = 24.0,
    max_median_ms: Annotated[
        float, typer.Option(min=0.001, help="Median milliseconds that a golden query may take.")
    ] = 250.0,
) -> None:
    """Put a release into production: load it, verify it, switch to it.

    The release is loaded beside the one that serves and must give the recorded answers to its
    golden queries before it gets any traffic. The server is started if it does not run. `mmr
    rollback` goes back to the release before, at once while that one is kept loaded.
    """
    from serving import deploy as deployment
    from serving.settings import DeploySettings, ServeSettings

    place, registry = open_registry(workspace, tracking_uri)
    serve = ServeSettings.from_port_base(port_base)
    report = deployment.deploy(
        find(place, registry, release).path,
        workspace=place,
        registry=registry,
        why=why,
        who=getuser(),
        settings=DeploySettings(keep_warm_s=3600 * keep_warm, max_median_ms=max_median_ms),
        serve=serve.model_copy(update={"models": _models(place, threads, instances)}),
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

    place, registry = open_registry(workspace, tracking_uri)
    found = find(place, registry, release)
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
    from mmr.tracking.deferred import DeferredTracking
    from mmr.tracking.protocols import CHAMPION
    from mmr.workspace import Workspace
    from serving.rollback import roll_back, rollback_target
    from serving.rollout import Promotion

    place = Workspace.open(workspace)
    # Traffic goes back first; the seconds that MLflow takes to start come after.
    registry = DeferredTracking(tracking_uri or place.tracking_uri, audit_file=place.audit_file)
    if _server_runs(place):
        _tell(
            roll_back(
                workspace=place, registry=registry, why=why, who=getuser(), triton_venv=triton_venv
            )
        )
    else:
        target = find(place, registry, rollback_target(registry))
        target.verify()
        promotion = Promotion(registry.resolve(CHAMPION), why, getuser(), "rollback")
        _move_alias(place, registry, target.release_id, promotion)


def _models(
    place: "Workspace", threads: int | None, instances: int | None
) -> "ModelSettings | None":
    """What was chosen before, changed as asked; None if nothing was asked."""
    from serving.repository import ModelRepository

    asked = {"threads": threads, "instances": instances}
    changes = {name: value for name, value in asked.items() if value is not None}
    kept = ModelRepository(place.serving).kept.model_settings()
    return kept.model_copy(update=changes) if changes else None


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
