"""Rollback on a real Triton: back at once, without a failed request, on record as a rollback."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import ServingError, TrackingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.client import SearchClient
from serving.deploy import DeployReport, ExpectedChampion, deploy
from serving.repository import ModelRepository
from serving.rollback import roll_back
from serving.rollout import Rollout
from serving.settings import DeploySettings, ServeSettings
from tests.serving.deployments import new_registry, register


@pytest.fixture
def home(workspace: Workspace, make_release: Callable[..., Path]) -> tuple[Path, Path]:
    """Two releases that lie in the workspace."""
    there = [workspace.releases / name for name in ("x", "y")]
    made = sorted(workspace.releases.glob("*")) if workspace.releases.is_dir() else []
    if len(made) < len(there):
        made = [make_release(seed, releases=workspace.releases) for seed in (21, 22)]
    return made[0], made[1]


@pytest.fixture
def registry(home: tuple[Path, Path]) -> InMemoryTracking:
    registry = new_registry(*home)
    return registry


@pytest.fixture
def there(
    workspace: Workspace,
    registry: InMemoryTracking,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "registry": registry,
        "serve": serve_settings,
        "triton_venv": triton_venv,
    }


def serving_release(report: DeployReport) -> str:
    with SearchClient(report.grpc_url) as client:
        return client.search("white lamp", 1).release_id


def test_rollback_answers_from_the_version_kept_and_is_on_record(
    there: dict[str, Any], home: tuple[Path, Path], registry: InMemoryTracking
) -> None:
    old, new = home
    first, second = deploy(old, **there), deploy(new, **there)

    began = time.monotonic()
    report = roll_back(**there, why="wrong colours", who="ann")
    assert serving_release(report) == old.name
    assert time.monotonic() - began < 3

    assert (report.version, report.previous_release_id) == (first.version, new.name)
    assert report.golden is not None
    record = registry.history()[0]
    assert (record.action, record.release_id, record.replaced, record.why, record.who) == (
        "rollback",
        old.name,
        new.name,
        "wrong colours",
        "ann",
    )
    assert registry.resolve("previous") == new.name
    after = deploy(new, **there)
    assert after.version > second.version  # a number withdrawn is never given again


def test_the_time_of_a_rollback_ends_before_the_registry_is_told(
    there: dict[str, Any],
    home: tuple[Path, Path],
    registry: InMemoryTracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Customers have their answers by then; MLflow takes its seconds for the record."""
    for release in home:
        deploy(release, **there)
    told, promote = [], registry.promote

    def telling(*names: Any, **words: Any) -> Any:
        told.append(time.monotonic())
        return promote(*names, **words)

    monkeypatch.setattr(registry, "promote", telling)
    began = time.monotonic()

    report = roll_back(**there)

    assert began + report.seconds <= told[0]


def test_rollback_under_load_fails_no_request(
    there: dict[str, Any], home: tuple[Path, Path], customers: Callable[[str], Any]
) -> None:
    old, new = home
    deploy(old, **there)
    with customers(deploy(new, **there).grpc_url) as load:
        time.sleep(0.3)
        roll_back(**there)
        time.sleep(0.3)

    assert not load.failures
    assert {answer.split()[0] for answer in load.answered} == {old.name, new.name}
    assert all(answer.endswith(" 5") and answer.count("'") == 2 for answer in load.answered)


def test_rollback_of_a_rollback_deploys_what_is_no_longer_loaded(
    there: dict[str, Any],
    home: tuple[Path, Path],
    registry: InMemoryTracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = home
    deploy(old, **there)
    before = deploy(new, **there)
    roll_back(**there)

    monkeypatch.delattr(Rollout, "verify_candidate")  # it passed here before: one load is enough
    again = roll_back(**there)

    assert again.golden is not None
    assert serving_release(again) == new.name == registry.resolve("champion")
    assert again.version > before.version
    assert registry.history()[0].action == "rollback"


def test_rollback_to_a_release_that_no_longer_passes_is_undone(
    there: dict[str, Any], home: tuple[Path, Path], registry: InMemoryTracking
) -> None:
    old, new = home
    deploy(old, **there)
    deploy(new, **there)
    before = roll_back(**there)

    with pytest.raises(ServingError, match="median search took"):
        roll_back(**there, settings=DeploySettings(max_median_ms=1e-6))

    assert serving_release(before) == old.name == registry.resolve("champion")
    assert ModelRepository(there["workspace"].serving).active() == ActiveVersion(
        before.version, old.name
    )


def test_nothing_to_roll_back_to_is_said(
    there: dict[str, Any], home: tuple[Path, Path], registry: InMemoryTracking
) -> None:
    deploy(home[0], **there)
    with pytest.raises(TrackingError, match="nothing to roll back to"):
        roll_back(**there)


class _Refusing(InMemoryTracking):
    """A registry in which someone else promotes just when this rollback has switched."""

    def promote(self, release_id: str, **record: Any) -> Any:
        if record.get("action") == "rollback":
            raise TrackingError("the champion is another by now")
        return super().promote(release_id, **record)


def test_refused_rollback_puts_the_champion_back(
    there: dict[str, Any], home: tuple[Path, Path], workspace: Workspace
) -> None:
    registry = _Refusing()
    for release in home:
        register(registry, release)
    there["registry"] = registry
    old, new = home
    deploy(old, **there)
    before = deploy(new, **there)

    with pytest.raises(TrackingError, match="another by now"):
        roll_back(**there)

    assert serving_release(before) == new.name == registry.resolve("champion")
    active = ModelRepository(workspace.serving).active()
    assert active is not None
    assert active.release_id == new.name


def test_killed_rollback_is_finished_by_running_it_again(
    there: dict[str, Any], home: tuple[Path, Path], registry: InMemoryTracking, workspace: Workspace
) -> None:
    """As after a kill between the switch and the promotion: both versions are still loaded."""
    old, new = home
    first = deploy(old, **there)
    deploy(new, **there)
    ModelRepository(workspace.serving).set_active(ActiveVersion(first.version, old.name))

    report = roll_back(**there)

    assert serving_release(report) == old.name == registry.resolve("champion")
    assert registry.history()[0].action == "rollback"
    assert ModelRepository(workspace.serving).versions("search")[-1] == report.version


def test_deployment_that_expects_another_champion_loads_nothing(
    there: dict[str, Any], home: tuple[Path, Path], workspace: Workspace
) -> None:
    before = deploy(home[0], **there)
    with pytest.raises(TrackingError, match=f"the champion is {home[0].name}, but none was"):
        deploy(home[1], **there, expected=ExpectedChampion(None))
    assert ModelRepository(workspace.serving).versions("search")[-1] == before.version
