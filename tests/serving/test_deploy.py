"""Deployment into a real Triton: verified before traffic, switched without a failed request."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmr.errors import ServingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.repository import ModelRepository
from serving.settings import ModelSettings
from serving.triton_venv import STUB
from tests.serving.deployments import (
    Deploy,
    assert_no_trace_of_a_candidate,
    on_record,
    register,
    serving_release,
)


def model_processes(workspace: Workspace, version: int) -> dict[str, int]:
    """The process in which Triton runs a version of each model, by the model's name."""
    server = launcher.status(workspace).server
    assert server is not None
    found = {}
    for child in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.Error):  # one that just ends
            command = " ".join(child.cmdline())
            for model in ("query_encoder", "search"):
                if f"/{model}/{version}/model.py" in command and child.name() != "sh":
                    found[model] = child.pid
    return found


def stub_processes(workspace: Workspace) -> set[int]:
    """All model processes of a workspace, whether their server lives or not."""
    stub = str(workspace.serving / "backends" / "python" / STUB)
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[:1] == [stub]:
                found.add(process.pid)
    return found


def test_deployment_serves_the_release_and_moves_the_champion(
    deploy_here: Deploy, registry: InMemoryTracking, release_a: Path
) -> None:
    report = deploy_here(release_a, why="first", who="tester")

    assert serving_release(report) == release_a.name == registry.resolve("champion")
    assert report.golden is not None
    assert report.golden.max_cosine_distance < 1e-6
    assert (registry.history()[0].why, registry.history()[0].who) == ("first", "tester")


def test_swaps_under_load_lose_no_request_and_mix_no_release(
    deploy_here: Deploy, release_a: Path, release_b: Path, customers: Callable[[str], Any]
) -> None:
    with customers(deploy_here(release_a).grpc_url) as load:
        reports = [deploy_here(release) for release in (release_b, release_a, release_b)]

    assert not load.failures
    assert set(load.answered) == {f"{release_a.name} ['1'] 5", f"{release_b.name} ['2'] 5"}
    versions = [report.version for report in reports]
    assert versions == sorted(set(versions))
    assert serving_release(reports[-1]) == release_b.name


def test_the_version_that_serves_is_not_loaded_again_by_the_next_deployment(
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: Callable[..., Path],
    release_a: Path,
) -> None:
    """Triton loads a version anew when anything changed in it, be it the links of a file."""
    new = make_release(17)
    register(registry, new)
    version = deploy_here(new).version
    before = model_processes(workspace, version)

    deploy_here(release_a)

    assert sorted(before) == ["query_encoder", "search"]
    assert model_processes(workspace, version) == before


def test_a_release_that_returns_is_not_loaded_again_when_its_older_version_goes(
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: Callable[..., Path],
    release_a: Path,
    release_b: Path,
) -> None:
    """Both versions hold one release; what happens to one's files changes nothing in the other."""
    release = make_release(18)
    register(registry, release)
    deploy_here(release)
    deploy_here(release_a)
    version = deploy_here(release).version
    before = model_processes(workspace, version)

    deploy_here(release_b)

    assert sorted(before) == ["query_encoder", "search"]
    assert model_processes(workspace, version) == before


def test_older_release_gets_a_new_number_and_only_two_versions_stay(
    deploy_here: Deploy, workspace: Workspace, release_a: Path, release_b: Path
) -> None:
    for release in (release_a, release_b):
        last = deploy_here(release)
    rollback = deploy_here(release_a)

    assert rollback.version == last.version + 1
    assert rollback.previous_release_id == release_b.name
    kept = ModelRepository(workspace.serving).versions("search")
    assert kept == [last.version, rollback.version]
    with SearchClient(rollback.grpc_url, version=last.version) as pinned:
        assert pinned.search("white lamp", 1).release_id == release_b.name


def test_same_release_again_changes_nothing(
    deploy_here: Deploy, registry: InMemoryTracking, release_a: Path
) -> None:
    first = deploy_here(release_a)
    moves = len(registry.history())

    again = deploy_here(release_a)

    assert (again.version, again.golden) == (first.version, None)
    assert len(registry.history()) == moves


def test_killed_deployment_is_finished_by_running_it_again(
    deploy_here: Deploy, workspace: Workspace, release_a: Path, release_b: Path
) -> None:
    """As after a kill between load and switch: version n+1 is loaded, nothing records it."""
    before = deploy_here(release_a)
    server = launcher.status(workspace).server
    assert server is not None
    repository = ModelRepository(workspace.serving)
    models = repository.add(
        release_b, before.version + 1, settings=ModelSettings(threads=1), keep_versions=2
    )
    list(launcher.load_models(server, models, timeout_s=120))
    assert serving_release(before) == release_b.name

    after = deploy_here(release_b)

    assert serving_release(after) == release_b.name
    assert on_record(workspace) == ActiveVersion(after.version, release_b.name)


@contextmanager
def triton_dies_when(path: Path, workspace: Workspace) -> Iterator[None]:
    """Kills the server with -9 as soon as a directory is there, which it is told to load next."""
    server = launcher.status(workspace).server
    assert server is not None
    done = threading.Event()

    def watch() -> None:
        while not path.exists() and not done.wait(0.01):
            pass
        done.wait(0.3)  # the load has begun: it starts a Python and reads a model
        os.kill(server.pid, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize("model", ["search_candidate", "search"])
def test_triton_killed_during_a_load_leaves_the_champion_and_the_next_deployment_finishes(
    model: str,
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    release_a: Path,
    release_b: Path,
) -> None:
    before = deploy_here(release_a)
    repository = ModelRepository(workspace.serving)
    dies = triton_dies_when(repository.path / model / str(repository.next_version()), workspace)

    with dies, pytest.raises(ServingError, match=r"mmr serve"):
        deploy_here(release_b)

    assert on_record(workspace) == ActiveVersion(before.version, release_a.name)
    assert registry.resolve("champion") == release_a.name
    left = stub_processes(workspace)
    restarted = deploy_here(release_a)  # starts the server again, as `mmr serve` does
    assert not left & stub_processes(workspace), "processes that wait for the killed server"
    assert serving_release(restarted) == release_a.name
    after = deploy_here(release_b)
    assert serving_release(after) == release_b.name == registry.resolve("champion")
    assert_no_trace_of_a_candidate(workspace, after)
