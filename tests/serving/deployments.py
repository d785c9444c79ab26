"""What tests need before a deployment, and ask after it."""

from collections.abc import Callable
from pathlib import Path

from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.deploy import DeployReport
from serving.repository import ModelRepository
from serving.transport import connect

Deploy = Callable[..., DeployReport]


def new_registry(*releases: Path) -> InMemoryTracking:
    """A registry that knows some releases and has no champion."""
    registry = InMemoryTracking()
    register(registry, *releases)
    return registry


def register(registry: InMemoryTracking, *releases: Path) -> None:
    """Registers releases as `mmr run` does."""
    for release in releases:
        registry.register(release_id=release.name, release_dir=release, run_id=None, tags={})


def serving_release(report: DeployReport) -> str:
    with SearchClient(report.grpc_url) as client:
        return client.search("white lamp", 1).release_id


def on_record(workspace: Workspace) -> ActiveVersion:
    active = ModelRepository(workspace.serving).active()
    assert active is not None
    return active


def assert_no_trace_of_a_candidate(workspace: Workspace, before: DeployReport) -> None:
    repository = ModelRepository(workspace.serving)
    assert repository.versions("search")[-1] == before.version
    assert not (repository.path / "search_candidate").exists()
    transport = connect(before.grpc_url, protocol="grpc", timeout_s=5)
    assert not transport.ready("search_candidate")
    transport.close()
