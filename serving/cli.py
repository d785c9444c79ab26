"""The commands `mmr serve`, `mmr deploy` and `mmr search`."""

import time
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmr.tracking import Registry
    from mmr.workspace import Workspace
    from serving.client import SearchAnswer
    from serving.settings import ServeSettings

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace", envvar="MMR_WORKSPACE", help="Folder of runs, releases and servers."
    ),
]
TritonVenvOption = Annotated[
    Path | None,
    typer.Option(
        "--triton-venv",
        envvar="MMR_TRITON_VENV",
        help="Environment with nvidia-pytriton; .venv-triton by default.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow store; SQLite in the workspace by default.",
    ),
]
PortBaseOption = Annotated[
    int, typer.Option(min=1, max=65533, help="HTTP port; gRPC is the next, metrics the one after.")
]
_DEFAULT_WORKSPACE = Path("workspace")

_SERVE_EXAMPLES = """
Examples:

  mmr serve                          start in the background, return when ready

  mmr serve --port-base 8100         other ports: HTTP 8100, gRPC 8101, metrics 8102

  mmr serve --status                 is it running, which release, which ports

  mmr serve --stop                   stop it, requests under way finish first

  mmr serve --foreground             stay attached, log to stderr (for supervisors)
"""
_DEPLOY_EXAMPLES = """
Examples:

  mmr deploy 3f9a0c1be2d47788                          a release of the workspace

  mmr deploy champion                                  what the registry calls champion

  mmr deploy /mnt/releases/3f9a0c1be2d47788 --why "fixed prices"
"""
_SEARCH_EXAMPLES = """
Examples:

  mmr search "white wardrobe" -k 10

  mmr search "round oak table" --url shop-triton:8001

  mmr search "round oak table" --protocol http
"""


def register(app: typer.Typer) -> None:
    """Adds the serving commands to the root command."""
    app.command(epilog=_SERVE_EXAMPLES)(serve)
    app.command(epilog=_DEPLOY_EXAMPLES)(deploy)
    app.command(epilog=_SEARCH_EXAMPLES)(search)


def serve(
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    port_base: PortBaseOption = 8000,
    host: Annotated[
        str, typer.Option(help="Address to bind. Triton has no login: keep it on loopback.")
    ] = "127.0.0.1",
    triton_venv: TritonVenvOption = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay attached; Ctrl-C stops the server.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say how the server is.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server.")] = False,
) -> None:
    """Start, stop or look at the workspace's Triton server.

    It loads the release that was deployed last and keeps running after this command has
    returned. Starting it a second time changes nothing.
    """
    from mmr.errors import ConfigError
    from mmr.workspace import Workspace
    from serving import launcher
    from serving.settings import ServeSettings

    if status + stop + foreground > 1:
        raise ConfigError("Choose one of --status, --stop and --foreground.")
    place = Workspace.open(workspace)
    settings = ServeSettings(
        http_port=port_base, grpc_port=port_base + 1, metrics_port=port_base + 2, host=host
    )
    if stop:
        stopped = launcher.shut_down(place, grace_s=settings.stop_grace_s)
        typer.echo("Triton stopped." if stopped else "Triton was not running.")
    elif status:
        _report_status(place)
    elif foreground:
        _serve_in_foreground(place, settings, triton_venv)
    else:
        already = launcher.status(place).server is not None
        launcher.start(place, settings=settings, triton_venv=triton_venv)
        if already:
            typer.echo("Triton is running already; --stop it first to change its settings.")
        _report_status(place)


def deploy(
    release: Annotated[
        str, typer.Argument(help="Release id, its directory, or an alias such as `champion`.")
    ],
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    why: Annotated[str, typer.Option(help="Goes into the record of promotions.")] = "by hand",
    port_base: PortBaseOption = 8000,
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Put a release into production: load it, verify it, switch to it.

    The release is loaded beside the one that serves and must give the recorded answers to its
    golden queries before it gets any traffic. The server is started if it does not run. To roll
    back, deploy the older release again.
    """
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace
    from serving import deploy as deployment
    from serving.settings import ServeSettings

    place = Workspace.open(workspace)
    registry = open_tracking(tracking_uri or place.tracking_uri)
    report = deployment.deploy(
        _release_directory(release, place, registry),
        workspace=place,
        registry=registry,
        why=why,
        who=getuser(),
        serve=ServeSettings.from_port_base(port_base),
        triton_venv=triton_venv,
    )
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


def search(
    query: Annotated[str, typer.Argument(help="What the customer types.")],
    k: Annotated[int, typer.Option("-k", "--top", min=1, max=1000, help="Products wanted.")] = 10,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    url: Annotated[
        str | None, typer.Option(help="host:port of Triton; the workspace's server by default.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="grpc or http.")] = "grpc",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")] = 5.0,
) -> None:
    """Search the served release and print the products found."""
    from mmr.errors import ConfigError
    from serving.client import SearchClient

    if protocol not in ("grpc", "http"):
        raise ConfigError(f"--protocol is {protocol!r}; choose grpc or http.")
    address = url or _workspace_address(workspace, protocol)
    with SearchClient(address, protocol=protocol, timeout_s=timeout) as client:
        client.ready()  # connects, so that the time below is the search alone
        start = time.perf_counter()
        answer = client.search(query, k)
        milliseconds = 1000 * (time.perf_counter() - start)
    _print_answer(query, answer, milliseconds=milliseconds)


def _report_status(workspace: "Workspace") -> None:
    from serving import launcher

    now = launcher.status(workspace)
    if now.active:
        typer.echo(f"Deployed: release {now.active.release_id}, version {now.active.version}.")
    else:
        typer.echo("Deployed: nothing yet. Deploy a release with `mmr deploy RELEASE`.")
    if now.server is None:
        typer.echo("Triton is not running. Start it with `mmr serve`.")
        return
    server = now.server
    state = "answers" if now.answering else "runs, but no release answers"
    typer.echo(
        f"Triton {state} (pid {server.pid}): gRPC {server.grpc_url}, HTTP {server.http_url},"
    )
    typer.echo(
        f"  metrics http://{server.host}:{server.metrics_port}/metrics, "
        f"log {workspace.serving / 'triton.log'}"
    )


def _serve_in_foreground(
    workspace: "Workspace", settings: "ServeSettings", triton_venv: Path | None
) -> None:
    import signal

    from serving import launcher

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = launcher.start(
            workspace, settings=settings, triton_venv=triton_venv, foreground=True
        )
        launcher.wait(server)
    except KeyboardInterrupt:
        launcher.shut_down(workspace, grace_s=settings.stop_grace_s)


def _release_directory(name: str, workspace: "Workspace", registry: "Registry") -> Path:
    from mmr.errors import ArtifactError

    for place in (workspace.releases / name, Path(name)):
        if (place / "release.json").is_file():
            return place
    named = registry.resolve(name) if name.isidentifier() else None
    if named and (workspace.releases / named / "release.json").is_file():
        return workspace.releases / named
    present = sorted(path.name for path in workspace.releases.glob("[0-9a-f]*"))
    raise ArtifactError(
        f"{name!r} is neither a release of {workspace.path}, nor a release's directory, nor an "
        f"alias. Releases there: {', '.join(present) or 'none; make one with `mmr run DATASET`'}."
    )


def _workspace_address(workspace: Path, protocol: str) -> str:
    from mmr.errors import ServingError
    from mmr.workspace import Workspace
    from serving.process import ServerRecord

    server = ServerRecord(Workspace.open(workspace).serving).running()
    if server is None:
        raise ServingError(
            f"No Triton server of {workspace} is running. Start it with `mmr serve`, or give --url."
        )
    return server.grpc_url if protocol == "grpc" else server.http_url


def _print_answer(query: str, answer: "SearchAnswer", *, milliseconds: float) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(query), title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("title", overflow="fold")
    table.add_column("product id", overflow="fold")
    for hit in answer.hits:
        table.add_row(
            str(hit.rank),
            f"{hit.score:.4f}",
            Text(_visible(hit.title)),
            Text(_visible(hit.product_id)),
        )
    console = Console()
    console.print(table)
    console.print(Text(f"release {answer.release_id} · {milliseconds:.1f} ms"))


def _visible(text: str) -> str:
    """Without control characters, which could rewrite the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
