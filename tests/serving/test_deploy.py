"""Deployment into a real Triton: verified before traffic, switched without a failed request."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmr.errors import ArtifactError, CorruptArtifactError, ServingError, TrackingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.model_config import CANDIDATE_SUFFIX
from serving.repository import ActiveVersion, ModelRepository
from serving.settings import DeploySettings, ModelSettings, ServeSettings
from serving.transport import connect
from serving.triton_venv import STUB

Deploy = Callable[..., DeployReport]


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


def serving_release(report: DeployReport) -> str:
    with SearchClient(report.grpc_url) as client:
        return client.search("white lamp", 1).release_id


def on_record(workspace: Workspace) -> ActiveVersion:
    active = ModelRepository(workspace.serving).active()
    assert active is not None
    return active


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
    registry.register(release_id=new.name, release_dir=new, run_id=None, tags={})
    version = deploy_here(new).version
    before = model_processes(workspace, version)

    deploy_here(release_a)

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


def test_release_that_answers_otherwise_than_recorded_gets_no_traffic(
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: Callable[..., Path],
    release_a: Path,
    release_b: Path,
    customers: Callable[[str], Any],
) -> None:
    wrong = make_release(3, golden_from=release_b)
    registry.register(release_id=wrong.name, release_dir=wrong, run_id=None, tags={})
    before = deploy_here(release_a)

    with (
        customers(before.grpc_url) as load,
        pytest.raises(ServingError, match=r"failed its 10 golden queries.*cosine distance"),
    ):
        deploy_here(wrong)

    assert not load.failures
    assert set(load.answered) == {f"{release_a.name} ['1'] 5"}
    assert registry.resolve("champion") == release_a.name
    assert_no_trace_of_a_candidate(workspace, before)


def test_index_of_another_encoder_is_refused_with_both_fingerprints(
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: Callable[..., Path],
    release_a: Path,
    release_b: Path,
) -> None:
    mixed = make_release(4, index_from=release_b, golden_from=release_b)
    registry.register(release_id=mixed.name, release_dir=mixed, run_id=None, tags={})
    foreign = json.loads((release_b / "release.json").read_text())["encoder_fingerprint"]
    own = json.loads((mixed / "release.json").read_text())["encoder_fingerprint"]
    before = deploy_here(release_a)

    with pytest.raises(ServingError, match=rf"IndexMismatchError.*{foreign}.*{own}"):
        deploy_here(mixed)

    assert serving_release(before) == release_a.name
    assert_no_trace_of_a_candidate(workspace, before)


def test_damaged_release_is_refused_and_the_file_named(
    deploy_here: Deploy, tmp_path: Path, release_b: Path
) -> None:
    damaged = tmp_path / release_b.name
    shutil.copytree(release_b, damaged)
    index = damaged / "index/index.faiss"
    index.chmod(0o644)
    index.write_bytes(index.read_bytes()[:-1] + b"!")

    with pytest.raises(CorruptArtifactError, match=r"index/index\.faiss differs"):
        deploy_here(damaged)


def test_file_damaged_after_the_check_fails_the_load(
    deploy_here: Deploy,
    workspace: Workspace,
    release_a: Path,
    tmp_path: Path,
    release_b: Path,
) -> None:
    """The model process checks for itself: what lies in Triton's repository is not trusted."""
    before = deploy_here(release_a)
    damaged = tmp_path / "damaged"
    shutil.copytree(release_b, damaged)
    tokenizer = damaged / "query_encoder/tokenizer.json"
    tokenizer.chmod(0o644)
    tokenizer.write_text("{}")
    repository = ModelRepository(workspace.serving)
    models = repository.add(
        damaged, 99, settings=ModelSettings(), keep_versions=2, suffix=CANDIDATE_SUFFIX
    )
    server = launcher.status(workspace).server
    assert server is not None

    with pytest.raises(ServingError, match=r"tokenizer\.json differs from its recorded hash"):
        list(launcher.load_models(server, models, timeout_s=120))

    repository.remove_models(CANDIDATE_SUFFIX)
    assert serving_release(before) == release_a.name


def test_release_that_is_not_registered_is_refused_before_anything_starts(
    tmp_path: Path, release_a: Path, serve_settings: ServeSettings
) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)

    with pytest.raises(ArtifactError, match="is not registered"):
        deploy(release_a, workspace=workspace, registry=InMemoryTracking(), serve=serve_settings)

    assert launcher.status(workspace).server is None


def test_slow_release_is_refused(deploy_here: Deploy, release_a: Path, release_b: Path) -> None:
    before = deploy_here(release_a)

    slow = r"median search took .* The load of this machine is .* --max-median-ms"
    with pytest.raises(ServingError, match=slow):
        deploy_here(release_b, settings=DeploySettings(max_median_ms=1e-6))

    assert serving_release(before) == release_a.name


class _OutdatedView:
    """A registry whose champion moved just after this deployment had looked."""

    def __init__(self, registry: InMemoryTracking) -> None:
        self._registry = registry

    def resolve(self, alias: str) -> str | None:
        return None

    def releases(self) -> list[Any]:
        return self._registry.releases()

    def promote(self, release_id: str, **record: Any) -> object:
        return self._registry.promote(release_id, **record)


def test_lost_race_for_the_champion_puts_the_old_release_back(
    deploy_here: Deploy,
    workspace: Workspace,
    registry: InMemoryTracking,
    release_a: Path,
    release_b: Path,
) -> None:
    before = deploy_here(release_b)
    with pytest.raises(TrackingError, match="was not promoted"):
        deploy_here(release_a, registry=_OutdatedView(registry))

    assert serving_release(before) == release_b.name
    assert on_record(workspace).release_id == release_b.name


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


def assert_no_trace_of_a_candidate(workspace: Workspace, before: DeployReport) -> None:
    repository = ModelRepository(workspace.serving)
    assert repository.versions("search")[-1] == before.version
    assert not (repository.path / "search_candidate").exists()
    transport = connect(before.grpc_url, protocol="grpc", timeout_s=5)
    assert not transport.ready("search_candidate")
    transport.close()
