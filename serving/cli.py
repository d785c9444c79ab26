"""The commands `mmr serve` and `mmr search`; the others of serving join here."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving import cli_deploy, cli_doctor, cli_prune, cli_trial, cli_ui
from serving.cli_options import DEFAULT_WORKSPACE, PortBaseOption, TritonVenvOption, WorkspaceOption

if TYPE_CHECKING:
    from mmr.workspace import Workspace
    from serving.client import SearchAnswer
    from serving.settings import ServeSettings


_SERVE_EXAMPLES = """
Examples:

  mmr serve                          start in the background, return when ready

  mmr serve --port-base 8100         other ports: HTTP 8100, gRPC 8101, metrics 8102

  mmr serve --status                 is it running, which release, which ports

  mmr serve --stop                   stop it, requests under way finish first

  mmr serve --foreground             stay attached, log to stderr (for supervisors)
"""
_SEARCH_EXAMPLES = """
Examples:

  mmr search "white wardrobe" -k 10

  mmr search "round oak table" --url shop-triton:8001

  mmr search "round oak table" --protocol http

  mmr search "round oak table" --release 3f9a0c1be2d47788      not the one that serves, but this
"""


def register(app: typer.Typer) -> None:
    """Adds the serving commands to the root command."""
    app.command(epilog=_SERVE_EXAMPLES)(serve)
    cli_deploy.register(app)
    cli_prune.register(app)
    cli_trial.register(app)
    cli_doctor.register(app)
    app.command(epilog=_SEARCH_EXAMPLES)(search)
    cli_ui.register(app)


def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    port_base: PortBaseOption = 8000,
    host: Annotated[
        str, typer.Option(help="Address to bind. Triton has no login: keep it on loopback.")
    ] = "127.0.0.1",
    open_http: Annotated[
        bool,
        typer.Option(
            "--open-http",
            help="Take queries and commands over HTTP too. Only for callers that you trust: a "
            "hostile request can end Triton there, and not over gRPC.",
        ),
    ] = False,
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
    settings = ServeSettings.from_port_base(port_base).model_copy(
        update={"host": host, "open_http": open_http}
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


def search(
    query: Annotated[str, typer.Argument(help="What the customer types.")],
    k: Annotated[int, typer.Option("-k", "--top", min=1, max=1000, help="Products wanted.")] = 10,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    url: Annotated[
        str | None, typer.Option(help="host:port of Triton; the workspace's server by default.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="grpc or http.")] = "grpc",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")] = 5.0,
    release: Annotated[
        str | None, typer.Option(help="Id of the loaded release that must answer.")
    ] = None,
) -> None:
    """Search the served release and print the products found."""
    from mmr.errors import ConfigError
    from serving.client import SearchClient

    if protocol not in ("grpc", "http"):
        raise ConfigError(f"--protocol is {protocol!r}; choose grpc or http.")
    address = url or _workspace_address(workspace, protocol)
    with SearchClient(address, protocol=protocol, timeout_s=timeout, release=release) as client:
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
