"""Puts the page together for a workspace, and serves it until it is interrupted."""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from mmr.data.dataset import Dataset
from mmr.data.locate import find_dataset
from mmr.errors import ServingError
from mmr.release.bundle import Release
from mmr.workspace import Workspace
from serving.repository import ModelRepository
from serving.ui.app import Shop, build_app
from serving.ui.pictures import Pictures
from serving.ui.searchers import ReleaseSearcher, ServedSearcher, server_of
from serving.ui.weights import ReleaseWeights

_EXAMPLES = 6
_EXAMPLE_CHARACTERS = 40


@dataclass(frozen=True)
class PageSettings:
    """What the page shows and where it listens.

    Attributes:
        host: Address to bind.
        port: 0 for any free one.
        triton: `host:port` of Triton's gRPC; None for the workspace's own server.
        candidate: Directory of the release to compare with.
        dataset: Where the pictures are; None for the dataset of the workspace's run.
    """

    host: str
    port: int
    triton: str | None
    candidate: Path | None
    dataset: Path | None


def open_shop(workspace: Workspace, settings: PageSettings) -> Shop:
    """Opens everything that the page needs. A server that does not run yet is no error.

    Raises:
        ArtifactError: The candidate cannot be used.
        DataContractError: `settings.dataset` is no dataset.
    """
    triton = settings.triton
    candidate, elsewhere = None, {}
    if settings.candidate is not None:
        candidate = ReleaseSearcher(settings.candidate)
        elsewhere = {candidate.release_id: settings.candidate}
    dataset = _dataset(workspace, settings)
    return Shop(
        champion=ServedSearcher(server_of(workspace) if triton is None else lambda: triton),
        candidate=candidate,
        pictures=Pictures(dataset) if dataset else None,
        weights=ReleaseWeights(workspace.releases, elsewhere=elsewhere),
        name=dataset.manifest.name if dataset else workspace.path.name,
        examples=_examples(dataset) if dataset else (),
    )


def serve_page(shop: Shop, settings: PageSettings, *, started: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
        shop: What it shows.
        settings: Where it listens.
        started: Called with the page's address once it listens.

    Raises:
        ServingError: The address cannot be bound.
    """
    listener = _bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        build_app(shop, hosts=_own_names(settings.host)),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=3,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    started(f"http://{host}:{port}/")
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServingError(
            f"The page cannot listen on {host}:{port} ({error.strerror}). Stop the other program, "
            "or choose another --port."
        ) from error


def _own_names(host: str) -> list[str]:
    if host == "localhost" or _is_loopback(host):
        return ["127.0.0.1", "localhost", "::1", "[::1]", host]
    return ["*"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _dataset(workspace: Workspace, settings: PageSettings) -> Dataset | None:
    if settings.dataset is not None:
        return Dataset(settings.dataset)
    active = ModelRepository(workspace.serving).active()
    served = workspace.releases / active.release_id if active else None
    for release in (served, settings.candidate):
        if release is not None and release.is_dir():
            found = find_dataset(workspace, Release.open(release).manifest.dataset_hash)
            if found is not None:
                return found
    return None


def _examples(dataset: Dataset) -> tuple[str, ...]:
    """A few short queries of the validation split, of as many kinds as there are."""
    queries = dataset.queries("validation").drop_duplicates("query")
    short = queries[queries["query"].str.len() <= _EXAMPLE_CHARACTERS]
    mixed = short.assign(turn=short.groupby("kind").cumcount()).sort_values("turn", kind="stable")
    return tuple(mixed["query"].head(_EXAMPLES))
