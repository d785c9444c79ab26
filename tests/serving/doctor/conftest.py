"""A workspace with two releases, as `mmr doctor` sees it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.doctor.diagnosis import Patient
from serving.repository import ModelRepository
from serving.settings import ModelSettings, ServeSettings
from tests.serving.deployments import new_registry


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "shop", create=True)


@pytest.fixture
def releases(shop: Workspace, make_release: Callable[..., Path]) -> list[Path]:
    return [make_release(seed, releases=shop.releases) for seed in (41, 42)]


@pytest.fixture
def registry(releases: list[Path]) -> InMemoryTracking:
    registry = new_registry(*releases)
    return registry


@pytest.fixture
def patient(
    shop: Workspace, registry: InMemoryTracking, serve_settings: ServeSettings, triton_venv: Path
) -> Patient:
    return Patient(shop.path, lambda workspace: registry, serve_settings, triton_venv)


@pytest.fixture
def deployed(shop: Workspace, releases: list[Path], registry: InMemoryTracking) -> ModelRepository:
    """Both releases were deployed, one after the other; the server is stopped now."""
    repository = ModelRepository(shop.serving)
    repository.create()
    champion = None
    for version, release in enumerate(releases, start=1):
        repository.add(release, version, settings=ModelSettings(), keep_versions=2)
        repository.set_active(ActiveVersion(version, release.name))
        registry.promote(release.name, expected=champion, why="", who="")
        champion = release.name
    return repository
