"""Deployments that a real Triton or our own checks refuse: the champion goes on answering."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import ArtifactError, CorruptArtifactError, ServingError, TrackingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.deploy import deploy
from serving.model_config import CANDIDATE_SUFFIX
from serving.repository import ModelRepository
from serving.settings import DeploySettings, ModelSettings, ServeSettings
from tests.serving.deployments import (
    Deploy,
    assert_no_trace_of_a_candidate,
    on_record,
    register,
    serving_release,
)


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
    register(registry, wrong)
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
    register(registry, mixed)
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
