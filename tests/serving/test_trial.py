"""Shadow and canary on a real Triton: whole answers of one release, and the live one stands in."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from mmr.errors import ArtifactError, ConfigError, ServingError
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import cli, launcher
from serving.client import SearchAnswer, SearchClient
from serving.deploy import DeployReport, deploy
from serving.doctor.finding import Level
from serving.doctor.trial import check_trial
from serving.live.canary import falls_to_candidate
from serving.live.jsonl_log import read_log
from serving.live.places import LivePlaces
from serving.live.settings import CanaryBudget, Trial
from serving.model_config import TRIAL_SUFFIX
from serving.repository import ModelRepository
from serving.rollback import roll_back
from serving.settings import DeploySettings, ServeSettings
from serving.transport import connect
from serving.trial import Shares, change_shares, end_trial, start_trial
from serving.trial_report import TrialReport, report_trial

StartTrial = Callable[..., Trial]
MakeRelease = Callable[..., Path]
PATIENT = DeploySettings(max_median_ms=30_000)  # the machine may be busy; speed is not the point


@pytest.fixture
def live(
    workspace: Workspace,
    registry: InMemoryTracking,
    release_a: Path,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> DeployReport:
    """Release A serves (product ids `1-…`)."""
    return deploy(
        release_a,
        workspace=workspace,
        registry=registry,
        serve=serve_settings,
        triton_venv=triton_venv,
        settings=PATIENT,
    )


@pytest.fixture
def no_trial(live: DeployReport, workspace: Workspace) -> None:
    if LivePlaces(workspace.serving).read_trial():
        end_trial(workspace)


@pytest.fixture
def try_b(
    live: DeployReport, workspace: Workspace, registry: InMemoryTracking, release_b: Path
) -> StartTrial:
    """Starts a trial of release B (product ids `2-…`), or goes on with one that is as good."""
    places = LivePlaces(workspace.serving)

    def start(*, shadow: float = 0.0, canary: float = 0.0, **limits: Any) -> Trial:
        budget = CanaryBudget(**({"timeout_ms": 5_000, "max_p95_ms": 10_000} | limits))
        trial = places.read_trial()
        if trial and trial.budget == budget and not places.read_trip(trial):
            trial = change_shares(workspace, shadow=shadow, canary=canary)
        else:
            if trial:
                end_trial(workspace)
            trial, _ = start_trial(
                release_b,
                workspace=workspace,
                registry=registry,
                shares=Shares(shadow, canary),
                budget=budget,
                settings=PATIENT,
            )
        wait_a_moment()
        return trial

    return start


@pytest.fixture
def client(live: DeployReport) -> Iterator[SearchClient]:
    with SearchClient(live.grpc_url, timeout_s=20) as client:
        yield client


def wait_a_moment() -> None:
    """The server looks at the trial's settings twice a second."""
    time.sleep(1.5)


def until(workspace: Workspace, enough: Callable[[TrialReport], bool]) -> TrialReport:
    deadline = time.monotonic() + 20
    while True:
        report = report_trial(workspace)
        assert report is not None
        if enough(report) or time.monotonic() > deadline:
            return report
        time.sleep(0.1)


def whole(answer: SearchAnswer) -> bool:
    """Whether all products are of the release that the answer names."""
    return len({hit.product_id.split("-")[0] for hit in answer.hits}) == 1


def test_canary_answers_its_share_and_every_answer_is_of_one_release(
    try_b: StartTrial, client: SearchClient, release_a: Path, release_b: Path
) -> None:
    trial = try_b(canary=0.5)

    answers = {key: client.search("oak desk", 5, key=key) for key in map(str, range(60))}

    expected = {
        key: (release_b if falls_to_candidate(trial, f"key {key}") else release_a).name
        for key in answers
    }
    assert {key: answer.release_id for key, answer in answers.items()} == expected
    assert len(set(expected.values())) == 2
    seeds = {release_a.name: "1", release_b.name: "2"}
    for answer in answers.values():
        assert {hit.product_id.split("-")[0] for hit in answer.hits} == {seeds[answer.release_id]}


def test_same_key_or_else_same_query_always_meets_the_same_release(
    try_b: StartTrial, client: SearchClient
) -> None:
    try_b(canary=0.5)
    queries = ["oak desk", "red sofa", "white bed", "blue lamp", "grey shelf", "green table"]

    for _ in range(3):
        by_query = [client.search(query).release_id for query in queries]
        spelled = [client.search(f"  {query.upper()} ").release_id for query in queries]
        assert spelled == by_query
    by_key = {client.search(query, key="ann").release_id for query in queries}
    assert len(by_key) == 1


def test_widening_keeps_those_who_were_in_and_narrowing_to_nothing_ends_it(
    try_b: StartTrial, client: SearchClient, workspace: Workspace, release_b: Path
) -> None:
    try_b(canary=0.2)
    keys = [str(number) for number in range(40)]

    def with_candidate() -> set[str]:
        wait_a_moment()
        return {key for key in keys if client.search("bed", key=key).release_id == release_b.name}

    few = with_candidate()
    change_shares(workspace, canary=0.7)
    many = with_candidate()
    change_shares(workspace, canary=0)

    assert few < many < set(keys)
    assert with_candidate() == set()


def test_pinned_and_probing_clients_never_meet_the_canary(
    try_b: StartTrial, live: DeployReport, release_a: Path, release_b: Path
) -> None:
    try_b(canary=1)
    for pin in ({"release": release_a.name}, {"version": live.version}, {"probe": True}):
        with SearchClient(live.grpc_url, **pin) as client:
            assert client.search("oak desk").release_id == release_a.name
    with SearchClient(live.grpc_url, release=release_b.name) as client:
        assert client.search("oak desk").release_id == release_b.name
        assert client.embed(["oak desk"]).release_id == release_b.name


def test_batch_goes_to_the_candidate_as_a_whole_or_not_at_all(
    try_b: StartTrial, client: SearchClient
) -> None:
    try_b(canary=0.5)

    for number in range(20):
        texts = [f"{colour} bed {number}" for colour in ("red", "oak", "blue")]
        answers = client.search_many(texts, 4)
        assert len({answer.release_id for answer in answers}) == 1
        assert all(map(whole, answers))


def test_bad_requests_are_refused_alike_with_and_without_a_canary(
    try_b: StartTrial, client: SearchClient
) -> None:
    try_b(canary=1)
    with pytest.raises(ServingError, match="K is 0"):
        client.search("oak desk", 0)
    with pytest.raises(ServingError, match="TEXT row 0 is empty"):
        client.search(" ")


def test_dead_candidate_costs_no_answer_and_is_rolled_back(
    try_b: StartTrial, client: SearchClient, workspace: Workspace, release_a: Path
) -> None:
    try_b(canary=1, max_errors_in_a_row=3, timeout_ms=400)
    for pid in candidate_processes(workspace):
        os.kill(pid, signal.SIGKILL)

    answers = [client.search("oak desk", 5) for _ in range(12)]

    assert {answer.release_id for answer in answers} == {release_a.name}
    report = until(workspace, lambda now: now.rolled_back is not None)
    assert report.rolled_back == "3 answers failed one after the other"
    assert until(workspace, lambda now: now.canary.failed >= 3).canary.failed >= 3
    with pytest.raises(ServingError, match=r"was rolled back: 3 answers failed"):
        change_shares(workspace, canary=0.5)
    (finding,) = check_trial(workspace, launcher.status(workspace).server)
    assert (finding.level, "was rolled back: 3" in finding.what) == (Level.WARNING, True)
    end_trial(workspace)
    assert list(check_trial(workspace, launcher.status(workspace).server)) == []


def test_slow_candidate_is_rolled_back_though_it_answers(
    try_b: StartTrial, client: SearchClient, workspace: Workspace, release_a: Path
) -> None:
    try_b(canary=1, max_p95_ms=0.001, min_answers=10)

    served = Counter(client.search("oak desk").release_id for _ in range(15))

    report = until(workspace, lambda now: now.rolled_back is not None)
    assert "95th percentile of the last 10 answers" in str(report.rolled_back)
    assert served[release_a.name] >= 4  # after the tenth


def test_shadow_sees_queries_unseen_and_its_differences_are_summed_up(
    try_b: StartTrial, client: SearchClient, workspace: Workspace, release_a: Path
) -> None:
    trial = try_b(shadow=1)

    answers = [client.search(f"{colour} desk", 5) for colour in ("oak", "red", "blue", "white")]

    assert {answer.release_id for answer in answers} == {release_a.name}
    report = until(workspace, lambda now: now.shadow.compared >= 4)
    figures = report.shadow
    assert (figures.compared, figures.failed) == (4, 0)
    assert (figures.mean_overlap, figures.same_first) == (0.0, 0.0)  # ids `1-…` and `2-…`
    records = [
        record
        for record in read_log(LivePlaces(workspace.serving).shadow_log)
        if record["trial_id"] == trial.trial_id
    ]
    assert {record["query"] for record in records} == {
        f"{colour} desk" for colour in ("oak", "red", "blue", "white")
    }
    by_query = {
        f"{c} desk": a for c, a in zip(("oak", "red", "blue", "white"), answers, strict=True)
    }
    with SearchClient(client.url, release=trial.release_id) as candidate:
        for record in records:
            there = candidate.search(record["query"], 5).hits[0].score
            here = by_query[record["query"]].hits[0].score
            assert record["score_shift"] == pytest.approx(there - here, abs=1e-5)


def test_dead_shadow_is_never_noticed_by_those_who_search(
    try_b: StartTrial, client: SearchClient, workspace: Workspace, release_a: Path
) -> None:
    try_b(shadow=1)
    for pid in candidate_processes(workspace):
        os.kill(pid, signal.SIGKILL)

    began = time.monotonic()
    answers = [client.search("oak desk") for _ in range(20)]

    assert time.monotonic() - began < 10
    assert {answer.release_id for answer in answers} == {release_a.name}
    assert until(workspace, lambda now: now.shadow.failed > 0).shadow.failed > 0
    end_trial(workspace)


def test_trial_survives_a_restart_of_the_server_and_so_does_its_rollback(
    try_b: StartTrial,
    live: DeployReport,
    workspace: Workspace,
    serve_settings: ServeSettings,
    triton_venv: Path,
    release_a: Path,
    release_b: Path,
) -> None:
    trial = try_b(canary=1)

    def restart() -> None:
        launcher.shut_down(workspace, grace_s=15)
        launcher.start(workspace, settings=serve_settings, triton_venv=triton_venv)
        wait_a_moment()

    def release() -> str:
        with SearchClient(live.grpc_url, timeout_s=20) as client:
            return client.search("oak desk").release_id

    restart()
    assert release() == release_b.name
    LivePlaces(workspace.serving).write_trip(trial, "too slow")
    restart()
    assert release() == release_a.name


def test_deployment_and_rollback_end_the_trial(
    no_trial: None, workspace: Workspace, registry: InMemoryTracking, make_release: MakeRelease
) -> None:
    there: dict[str, Any] = {"workspace": workspace, "registry": registry, "settings": PATIENT}
    old, new = (make_release(seed, releases=workspace.releases) for seed in (11, 12))
    for release in (old, new):
        registry.register(release_id=release.name, release_dir=release, run_id=None, tags={})
    deploy(old, **there)

    for candidate, change in (
        (new, lambda: deploy(new, **there)),
        (old, lambda: roll_back(**there)),
    ):
        trial, _ = start_trial(candidate, shares=Shares(canary=1), **there)
        report = change()

        assert LivePlaces(workspace.serving).read_trial() is None
        with SearchClient(report.grpc_url, timeout_s=20) as client:
            assert client.search("oak desk").release_id == candidate.name
        transport = connect(report.grpc_url, protocol="grpc", timeout_s=5)
        assert not any(model.endswith(TRIAL_SUFFIX) for model, _ in transport.loaded())
        transport.close()
        # Its number is not given again.
        assert ModelRepository(workspace.serving).next_version() > trial.version


def test_trial_of_what_serves_of_a_second_or_of_an_unregistered_release_is_refused(
    try_b: StartTrial,
    live: DeployReport,
    workspace: Workspace,
    registry: InMemoryTracking,
    make_release: MakeRelease,
    release_a: Path,
    release_b: Path,
) -> None:
    there: dict[str, Any] = {"workspace": workspace, "shares": Shares(shadow=1)}
    with pytest.raises(ServingError, match="serves already"):
        start_trial(release_a, registry=registry, **there)
    with pytest.raises(ArtifactError, match="is not registered"):
        start_trial(make_release(8), registry=registry, **there)
    try_b(shadow=1)
    with pytest.raises(ServingError, match="is on trial since"):
        start_trial(release_b, registry=registry, **there)
    end_trial(workspace)
    with pytest.raises(ServingError, match="There is no trial"):
        end_trial(workspace)


def test_candidate_that_fails_its_golden_queries_sees_no_query(
    no_trial: None, workspace: Workspace, registry: InMemoryTracking, release_b: Path
) -> None:
    with pytest.raises(ServingError, match="median search took"):
        start_trial(
            release_b,
            workspace=workspace,
            registry=registry,
            shares=Shares(canary=1),
            settings=DeploySettings(max_median_ms=1e-6),
        )

    assert LivePlaces(workspace.serving).read_trial() is None
    assert ModelRepository(workspace.serving).versions("search" + TRIAL_SUFFIX) == []


def test_commands_start_show_widen_and_stop_a_trial(
    live: DeployReport,
    no_trial: None,
    workspace: Workspace,
    registry: InMemoryTracking,
    release_b: Path,
    client: SearchClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmr.tracking.open_tracking", lambda uri, **_: registry)
    app = typer.Typer()
    cli.register(app)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["trial", *arguments, "--workspace", str(workspace.path)])

    assert "There is no trial" in run("show").output
    assert isinstance(run("start", str(release_b)).exception, ConfigError)
    started = run("start", str(release_b), "--shadow", "1", "--canary", "0.1")
    assert (
        f"Release {release_b.name} passed its 10 golden queries and is on trial as"
        in started.output
    ), started.exception
    wait_a_moment()
    client.search("oak desk", key="live")
    until(workspace, lambda now: now.shadow.compared + now.canary.answers > 0)
    shown = run("show")
    assert f"Release {release_b.name} (version " in shown.output
    assert "shadow 100%" in shown.output
    assert '"canary_share": 0.1' in run("show", "--json").output
    assert "canary 50%" in run("set", "--canary", "0.5").output
    assert isinstance(run("set").exception, ConfigError)
    assert "has ended" in run("stop").output
    assert "null" in run("show", "--json").output


def candidate_processes(workspace: Workspace) -> list[int]:
    """The Python processes of `search_trial`."""
    place = str(workspace.serving / "repository" / ("search" + TRIAL_SUFFIX))
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if place + "/" in arguments and "triton_python_backend_stub" in arguments:
            found.append(int(path.parent.name))
    assert found
    return found
