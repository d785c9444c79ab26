"""Starts and stops the local Triton server of a workspace, and says how it is."""

import contextlib
import http.client
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

import mmr
from mmr.errors import ServingError
from mmr.progress import Bar, progress_bar
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.live.places import HOME_VARIABLE, LivePlaces
from serving.model_config import MODELS, SEARCH, TRIAL_SUFFIX
from serving.ports import check_ports
from serving.process import KEY_HEADER, RunningServer, ServerRecord, end_orphans, start_ticks, stop
from serving.repository import ModelRepository
from serving.settings import ServeSettings
from serving.transport import connect
from serving.triton_venv import STUB, TritonVenv

_POLL_S = 0.05
_LOG_LINES = 12
_NEVER_OPEN = "shared-memory,trace,logging"  # nobody here needs them, and they reach beyond Triton
# What Triton reads JSON for: one request of a hundred bytes (a tensor of 10^12 numbers) or of some
# megabytes (lists in lists) ends the server while it is read.
_READS_JSON = "inference,model-repository"


@dataclass(frozen=True)
class ServerStatus:
    """How a workspace's server is.

    Attributes:
        server: The process, or None if none runs.
        active: What was deployed last, whether or not a server runs.
        answering: Whether the model `search` answers.
    """

    server: RunningServer | None
    active: ActiveVersion | None
    answering: bool


def start(
    workspace: Workspace,
    *,
    settings: ServeSettings,
    triton_venv: Path | None = None,
    foreground: bool = False,
) -> RunningServer:
    """Starts Triton and loads the deployed release, if there is one. A running server is kept.

    The server outlives this process unless `foreground`, where its log goes to stderr.

    Args:
        workspace: Model repository, record and log lie in its `serving` directory.
        settings: Ports, threads, patience.
        triton_venv: See `TritonVenv.locate`.
        foreground: Whether to leave the server in the caller's hands; see `wait`.

    Raises:
        ServingError: The environment is missing, a port is taken, the server died or stayed silent,
            or the deployed release could not be loaded (the server then runs on without it).
    """
    serving = workspace.serving
    serving.mkdir(parents=True, exist_ok=True)
    with _locked(serving / "serve.lock"):
        record = ServerRecord(serving)
        if running := record.running():
            return running
        venv = TritonVenv.locate(triton_venv)
        check_ports(settings)
        repository = ModelRepository(serving)
        repository.create()
        repository.remove_leftovers()
        if (until := repository.kept.warm_until()) is not None and until <= time.time():
            repository.cool_down(lambda model: None)  # nothing is loaded yet
        active = repository.active()
        with progress_bar("Starting Triton", total=1 + len(MODELS) * bool(active)) as bar:
            server = _launch(serving, venv, settings, foreground=foreground)
            record.write(server)
            _wait_until_ready(server, serving, settings.start_timeout_s)
            bar.advance(note="server")
            if active:
                _load_active(server, active, settings, bar)
                _load_trial(server, repository.places, settings)
        return server


def status(workspace: Workspace) -> ServerStatus:
    """How the workspace's server is."""
    server = ServerRecord(workspace.serving).running()
    active = ModelRepository(workspace.serving).active()
    return ServerStatus(server, active, server is not None and _answers(server))


def shut_down(workspace: Workspace, *, grace_s: float) -> bool:
    """Stops the workspace's server; False if none was running."""
    serving = workspace.serving
    if not serving.is_dir():
        return False
    with _locked(serving / "serve.lock"):
        record = ServerRecord(serving)
        server = record.running()
        if server:
            stop(server, grace_s=grace_s)
        _clear_up_after_killed(serving)
        record.remove()
        return server is not None


def wait(server: RunningServer) -> None:
    """Returns when the server has ended."""
    while server.is_alive():
        time.sleep(_POLL_S)


def load_models(
    server: RunningServer, models: tuple[str, ...], *, timeout_s: float
) -> Iterator[str]:
    """Loads models side by side and yields each name when it is loaded.

    Raises:
        ServingError: Triton refused one of them; its message says why.
    """

    def load(model: str) -> str:
        transport = connect(server.grpc_url, protocol="grpc", timeout_s=timeout_s)
        try:
            transport.load(model, timeout_s=timeout_s)
        finally:
            transport.close()
        return model

    with ThreadPoolExecutor(len(models)) as pool:
        yield from pool.map(load, models)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        with FileLock(path, timeout=120):
            yield
    except Timeout as error:
        raise ServingError(
            f"Another `mmr serve` holds {path} for two minutes. Wait for it, or stop it."
        ) from error


def _launch(
    serving: Path, venv: TritonVenv, settings: ServeSettings, *, foreground: bool
) -> RunningServer:
    _clear_up_after_killed(serving)
    venv.prepare_backends(serving / "backends")
    _link_code(serving / "code")
    key = secrets.token_hex(16)
    with (serving / "triton.log").open("ab") as log:
        output = sys.stderr if foreground else log
        process = subprocess.Popen(
            _command(serving, venv, settings, key=key),
            env=venv.environment(serving / "code") | {HOME_VARIABLE: str(serving)},
            cwd=serving,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process.returncode = 0  # its end is watched by pid; this handle must not complain about it
    return RunningServer(
        pid=process.pid,
        started_ticks=start_ticks(process.pid) or 0,
        host=settings.host,
        http_port=settings.http_port,
        grpc_port=settings.grpc_port,
        metrics_port=settings.metrics_port,
        key=key,
    )


def _command(serving: Path, venv: TritonVenv, settings: ServeSettings, *, key: str) -> list[str]:
    host = settings.host
    closed_to_http = _NEVER_OPEN if settings.open_http else f"{_READS_JSON},{_NEVER_OPEN}"
    return [
        str(venv.binary),
        f"--model-repository={serving / 'repository'}",
        "--model-control-mode=explicit",
        "--strict-readiness=false",  # true: not ready while any model loads or unloads
        "--disable-auto-complete-config",  # the configs are complete; saves a process per load
        f"--backend-directory={serving / 'backends'}",
        f"--cache-directory={venv.server / 'caches'}",
        f"--backend-config=python,shm-region-prefix-name={_shared_memory_prefix(serving)}",
        f"--http-address={host}",
        f"--http-port={settings.http_port}",
        f"--http-restricted-api={closed_to_http}:{KEY_HEADER}={key}",
        f"--grpc-address={host}",
        f"--grpc-port={settings.grpc_port}",
        f"--grpc-restricted-protocol={_NEVER_OPEN}:{KEY_HEADER}={key}",
        f"--metrics-address={host}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={max(1, int(settings.stop_grace_s) - 2)}",
    ]


def _link_code(directory: Path) -> None:
    """Shows Triton our two packages and nothing else of the environment that they come from."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for package in (Path(mmr.__file__).parent, Path(__file__).parent):
        (directory / package.name).symlink_to(package.resolve())


def _wait_until_ready(server: RunningServer, serving: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not _is_ready(server):
        if not server.is_alive():
            raise ServingError(f"Triton ended while starting. {_log_tail(serving)}")
        if time.monotonic() > deadline:
            stop(server, grace_s=2)
            raise ServingError(
                f"Triton did not answer within {timeout_s:.0f} s. {_log_tail(serving)}"
            )
        time.sleep(_POLL_S)


def _is_ready(server: RunningServer) -> bool:
    """Asks by plain HTTP: a gRPC channel that failed once waits a second before it tries again."""
    connection = http.client.HTTPConnection(server.http_url, timeout=1)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _load_active(
    server: RunningServer, active: ActiveVersion, settings: ServeSettings, bar: Bar
) -> None:
    try:
        for model in load_models(server, MODELS, timeout_s=settings.start_timeout_s):
            bar.advance(note=model)
    except ServingError as error:
        raise ServingError(
            f"Triton runs (pid {server.pid}), but release {active.release_id} could not be loaded. "
            f"Deploy it again or deploy another: `mmr deploy RELEASE`. Triton said: {error}"
        ) from error


def _load_trial(server: RunningServer, places: LivePlaces, settings: ServeSettings) -> None:
    """Brings a trial back that a stopped server had; a candidate that fails is rolled back."""
    trial = places.read_trial()
    if trial is None or places.read_trip(trial):
        return
    models = tuple(model + TRIAL_SUFFIX for model in MODELS)
    try:
        for _ in load_models(server, models, timeout_s=settings.start_timeout_s):
            pass
    except ServingError as error:
        places.write_trip(trial, f"it could not be loaded when the server started: {error}")


def _answers(server: RunningServer) -> bool:
    transport = connect(server.grpc_url, protocol="grpc", timeout_s=2.0)
    try:
        return transport.ready(SEARCH)
    except ServingError:
        return False
    finally:
        transport.close()


def _log_tail(serving: Path) -> str:
    log = serving / "triton.log"
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.is_file() else []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])


def _shared_memory_prefix(serving: Path) -> str:
    return f"mmr_triton_{os.stat(serving).st_ino}_"


def _clear_up_after_killed(serving: Path) -> None:
    """What a killed server left in processes and in /dev/shm; a clean end leaves nothing."""
    end_orphans(serving / "backends" / "python" / STUB)
    for path in Path("/dev/shm").glob(f"{_shared_memory_prefix(serving)}*"):
        path.unlink(missing_ok=True)
