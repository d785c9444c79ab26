"""Tiny real releases (a BERT of two layers, a Faiss index) and a real Triton on free ports."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest

from mmr.errors import ServingError
from mmr.monitoring.reference import fit_profile
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.process import RunningServer
from serving.settings import ModelSettings, ServeSettings
from tests.sealing import seal_release
from tests.serving.deployments import Deploy, new_registry
from tests.serving.small_shop import (
    TRAINING_QUERIES,
    write_encoder,
    write_golden,
    write_index,
)

MakeRelease = Callable[..., Path]


@pytest.fixture(scope="session")
def make_release(tmp_path_factory: pytest.TempPathFactory) -> MakeRelease:
    """Writes a whole release; a seed gives an encoder of its own, and product ids `seed-row`.

    `products` replaces the table of products beside the vectors, row for row.
    """
    root = tmp_path_factory.mktemp("releases")

    def make(
        seed: int,
        *,
        releases: Path | None = None,
        golden_from: Path | None = None,
        index_from: Path | None = None,
        products: pa.Table | None = None,
        with_profile: bool = True,
    ) -> Path:
        scratch = root / f"scratch-{seed}-{len(list(root.iterdir()))}"
        encoder = write_encoder(scratch / "query_encoder", seed)
        index = index_from / "index" if index_from else None
        if index is None:
            write_index(scratch, encoder, seed, products)
        else:
            os.symlink(index, scratch / "index")
        golden = (golden_from or scratch) / "golden.json"
        if golden_from is None:
            write_golden(golden, encoder, scratch / "index")
        release = root / f"release-{len(list(root.iterdir()))}"
        _copy(scratch / "query_encoder", release / "query_encoder")
        profile = fit_profile(
            TRAINING_QUERIES, encoder.encode, encoder_fingerprint=encoder.fingerprint
        )
        assert profile is not None
        if with_profile:
            profile.write(release)
        _copy(scratch / "index", release / "index")
        (release / "golden.json").write_bytes(golden.read_bytes())
        manifest = seal_release(release, fingerprint=encoder.fingerprint, dim=encoder.dim)
        target = (releases or root) / manifest.release_id
        target.parent.mkdir(parents=True, exist_ok=True)
        release.rename(target)
        return target

    return make


@pytest.fixture(scope="session")
def release_a(make_release: MakeRelease) -> Path:
    return make_release(1)


@pytest.fixture(scope="session")
def release_b(make_release: MakeRelease) -> Path:
    return make_release(2)


@pytest.fixture(scope="session")
def triton_venv() -> Path:
    path = Path(__file__).parents[2] / ".venv-triton"
    return Path(os.environ.get("MMR_TRITON_VENV", path))


@pytest.fixture
def registry(release_a: Path, release_b: Path) -> InMemoryTracking:
    return new_registry(release_a, release_b)


@pytest.fixture(scope="session")
def serve_settings(free_ports: Callable[[], int]) -> ServeSettings:
    base = free_ports()
    return ServeSettings(
        http_port=base,
        grpc_port=base + 1,
        metrics_port=base + 2,
        models=ModelSettings(threads=1),
    )


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, serve_settings: ServeSettings
) -> Iterator[Workspace]:
    """An empty workspace whose server, if one was started, is stopped at the end."""
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace"), create=True)
    yield workspace
    launcher.shut_down(workspace, grace_s=serve_settings.stop_grace_s)


@pytest.fixture
def deploy_here(
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    registry: InMemoryTracking,
) -> Deploy:
    """Deploys into the module's server, with a registry of the test's own."""

    def run(release: Path, **changes: object) -> DeployReport:
        return deploy(
            release,
            **{
                "workspace": workspace,
                "registry": registry,
                "serve": serve_settings,
                "triton_venv": triton_venv,
                **changes,
            },
        )

    return run


class Customers:
    """Search without a pause from three threads while the block runs."""

    def __init__(self, url: str) -> None:
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url, self._done = url, threading.Event()
        self._threads = [threading.Thread(target=self._search) for _ in range(3)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _search(self) -> None:
        with SearchClient(self._url) as client:
            while not self._done.is_set():
                try:
                    answer = client.search("red sofa", 5)
                except ServingError as error:
                    self.failures.append(str(error))
                    continue
                seeds = {hit.product_id.split("-")[0] for hit in answer.hits}
                self.answered[f"{answer.release_id} {sorted(seeds)} {len(answer.hits)}"] += 1


@pytest.fixture
def customers() -> type[Customers]:
    return Customers


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    triton_venv: Path,
    release_a: Path,
    free_ports: Callable[[], int],
) -> Iterator[tuple[Workspace, RunningServer]]:
    """A workspace whose running server answers with release A."""
    workspace = Workspace.open(tmp_path_factory.mktemp("served"), create=True)
    yield from _serving(
        workspace, release_a, ServeSettings.from_port_base(free_ports()), triton_venv
    )


@pytest.fixture(scope="session")
def served_openly(
    tmp_path_factory: pytest.TempPathFactory,
    triton_venv: Path,
    release_a: Path,
    free_ports: Callable[[], int],
) -> Iterator[tuple[Workspace, RunningServer]]:
    """The same, but HTTP takes queries too."""
    workspace = Workspace.open(tmp_path_factory.mktemp("served-openly"), create=True)
    settings = ServeSettings.from_port_base(free_ports()).model_copy(update={"open_http": True})
    yield from _serving(workspace, release_a, settings, triton_venv)


def _serving(
    workspace: Workspace, release: Path, settings: ServeSettings, triton_venv: Path
) -> Iterator[tuple[Workspace, RunningServer]]:
    try:
        server = launcher.start(workspace, settings=settings, triton_venv=triton_venv)
        deploy(release, workspace=workspace, registry=new_registry(release))
        yield workspace, server
    finally:
        launcher.shut_down(workspace, grace_s=settings.stop_grace_s)
