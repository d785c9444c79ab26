"""Each thing that can be wrong is named with a cure, and mended where that is possible."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.doctor.diagnosis import Patient, diagnose, repair
from serving.doctor.finding import Level
from serving.process import RunningServer, ServerRecord
from serving.repository import ModelRepository
from serving.settings import ModelSettings, ServeSettings
from tests.serving.deployments import register
from tests.serving.doctor.examining import assert_mended, only, wrong

# MLflow 3.17 on SQLAlchemy 2.1
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

OLD = time.time() - 7200


def test_nothing_is_wrong_with_a_sound_workspace(
    patient: Patient, deployed: ModelRepository
) -> None:
    assert wrong(patient) == []
    areas = {finding.area for finding in diagnose(patient)}
    assert areas == {"environment", "workspace", "serving", "registry", "releases"}


def test_the_champion_decides_what_a_stopped_server_will_load(
    patient: Patient, deployed: ModelRepository, registry: InMemoryTracking, releases: list[Path]
) -> None:
    """As after a kill between the switch and the move of the champion."""
    old, new = (release.name for release in releases)
    registry.promote(old, expected=new, why="", who="")

    finding = only(patient)
    assert finding.level is Level.ERROR
    assert f"champion {old}, active.json {new}: they must be the same" in finding.what

    assert "version 1" in assert_mended(patient)[0]
    assert deployed.active() == ActiveVersion(1, old)


def test_what_serves_without_a_promotion_is_promoted(
    patient: Patient, shop: Workspace, registry: InMemoryTracking, releases: list[Path]
) -> None:
    repository = ModelRepository(shop.serving)
    repository.create()
    repository.add(releases[0], 1, settings=ModelSettings(), keep_versions=2)
    repository.set_active(ActiveVersion(1, releases[0].name))
    assert "was never promoted" in only(patient).what
    assert_mended(patient)
    assert registry.resolve("champion") == releases[0].name


def test_a_previous_that_the_champion_did_not_replace_is_set_right(
    patient: Patient, deployed: ModelRepository, registry: InMemoryTracking, releases: list[Path]
) -> None:
    """As after a kill of a promotion between its two aliases."""
    registry.set_alias("previous", releases[1].name)
    assert "A rollback would go to the wrong release" in str(only(patient).cure)
    assert_mended(patient)
    assert registry.resolve("previous") == releases[0].name


def test_a_promotion_cut_short_is_finished(
    patient: Patient, releases: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.tracking import open_tracking

    tracking = open_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for release in releases:
        tracking.register(release_id=release.name, release_dir=release, run_id=None, tags={})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(tracking), "_conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            tracking.promote(releases[0].name, expected=None, why="first", who="ann")
    patient = replace(patient, open_registry=lambda workspace: tracking)

    assert any("was cut short before its record" in finding.what for finding in wrong(patient))
    list(repair(list(diagnose(patient))))
    assert [record.finished for record in tracking.history()] == [True]


def test_old_half_written_outputs_are_removed_and_young_or_living_ones_stay(
    patient: Patient, shop: Workspace
) -> None:
    dead, alive, young = (
        shop.path / "cache" / name
        for name in (
            ".a.partial-4194399-0123abcd",
            f".b.partial-{os.getpid()}-0123abcd",
            ".c.partial-4194399-0123abcd",
        )
    )
    for path in (dead, alive, young):
        path.mkdir(parents=True)
        (path / "rows").write_text("half")
    for path in (dead, alive):
        os.utime(path / "rows", (OLD, OLD))
        os.utime(path, (OLD, OLD))
    os.utime(young, (OLD, OLD))

    assert "1 half-written outputs" in only(patient).what
    assert_mended(patient)
    assert [path.exists() for path in (dead, alive, young)] == [False, True, True]


def test_a_tampered_release_is_named_with_its_file_unless_hashes_are_skipped(
    patient: Patient, deployed: ModelRepository, releases: list[Path]
) -> None:
    golden = releases[0] / "golden.json"
    golden.chmod(0o644)
    golden.write_text("{}")
    finding = only(patient)
    assert (finding.level, finding.area) == (Level.ERROR, "releases")
    assert "golden.json differs from its recorded hash" in finding.what
    assert wrong(replace(patient, hashes=False)) == []


def test_a_release_whose_directory_is_gone_is_worse_when_an_alias_names_it(
    patient: Patient, registry: InMemoryTracking, releases: list[Path]
) -> None:
    releases[0].rename(releases[0].parents[2] / "elsewhere")
    assert only(patient).level is Level.WARNING
    registry.set_alias("candidate", releases[0].name)
    finding = only(patient)
    assert finding.level is Level.ERROR
    assert "which is candidate, is registered" in finding.what


def test_a_champion_that_queries_cannot_be_held_against_is_named(
    patient: Patient,
    registry: InMemoryTracking,
    shop: Workspace,
    make_release: Callable[..., Path],
) -> None:
    """It is from before releases had a query profile."""
    old = make_release(43, releases=shop.releases, with_profile=False)
    register(registry, old)
    assert wrong(patient) == []
    registry.promote(old.name, expected=None, why="", who="")

    named = [finding for finding in wrong(patient) if "has no query profile" in finding.what]

    assert [finding.level for finding in named] == [Level.WARNING]
    assert f"champion {old.name}" in named[0].what


def test_a_removal_cut_short_is_finished(
    patient: Patient, registry: InMemoryTracking, releases: list[Path]
) -> None:
    registry.mark_deleted(releases[0].name)
    assert "is still there" in only(patient).what
    assert_mended(patient)
    assert not releases[0].exists()


def test_the_record_of_a_server_that_ended_is_removed(
    patient: Patient, shop: Workspace, deployed: ModelRepository
) -> None:
    ServerRecord(shop.serving).write(RunningServer(2**22 + 5, 1, "127.0.0.1", 1, 2, 3))
    assert "names a server that has ended" in only(patient).what
    assert_mended(patient)
    assert not (shop.serving / "triton.json").exists()


def test_versions_never_switched_to_are_removed_while_the_server_is_down(
    patient: Patient, deployed: ModelRepository, releases: list[Path]
) -> None:
    deployed.add(releases[0], 3, settings=ModelSettings(), keep_versions=2)
    assert "version 3, never switched to" in only(patient).what
    assert_mended(patient)
    assert deployed.versions("search") == [1, 2]


def test_taken_ports_are_named(patient: Patient, serve_settings: ServeSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", serve_settings.grpc_port))
        assert f"ports {serve_settings.grpc_port}" in only(patient).what


def test_a_missing_triton_is_an_error_only_where_something_serves(
    patient: Patient, shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.triton_venv._default_places", lambda: [tmp_path / "none"])
    blind = replace(patient, triton_venv=None)
    assert only(blind).level is Level.WARNING
    ModelRepository(shop.serving).create()
    ModelRepository(shop.serving).set_active(ActiveVersion(1, "x"))
    missing = next(finding for finding in wrong(blind) if "Triton environment" in finding.what)
    assert missing.level is Level.ERROR
