"""Shadow and canary on a real Triton: whole answers of one release, and the live one stands in."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving import launcher
from serving.client import SearchAnswer, SearchClient
from serving.deploy import DeployReport
from serving.doctor.finding import Level
from serving.doctor.trial import check_trial
from serving.live.canary import falls_to_candidate
from serving.live.jsonl_log import read_log
from serving.live.places import LivePlaces
from serving.model_config import TRIAL_SUFFIX
from serving.trial import change_shares, end_trial
from tests.serving.trial.conftest import StartTrial, until, wait_a_moment


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
