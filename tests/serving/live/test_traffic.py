"""Shadow and canary without Triton: what they promise when a candidate misbehaves."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.live.canary import AT_ONCE
from serving.live.candidate import CandidateError
from serving.live.places import LivePlaces
from serving.live.settings import CanaryBudget, Trial
from serving.live.traffic import LiveTraffic
from serving.models.engine import Answer, Question
from serving.models.requests import RequestOptions
from tests.serving.live.small_trial import CANDIDATE, LIVE, OAK_DESK, Sent, a_trial, answer_of

Start = Callable[..., LiveTraffic]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Traffic of the live release with a trial under way."""
    running: list[LiveTraffic] = []

    def begin(ask: Callable[[Question, Trial], Answer], **settings: object) -> LiveTraffic:
        LivePlaces(tmp_path).write_trial(a_trial(**settings))
        traffic = LiveTraffic(
            tmp_path,
            release_id=LIVE,
            answer=lambda question: answer_of(LIVE),
            ask=ask,
            warn=lambda message: None,
        )
        running.append(traffic)
        return traffic

    yield begin
    for traffic in running:
        traffic.close()


def divert(traffic: LiveTraffic, **options: object) -> Sent | None:
    sent = Sent()
    taken = traffic.divert(OAK_DESK, RequestOptions(**options), lambda: sent)
    return sent if taken else None


def test_candidate_answers_what_falls_to_it(start: Start) -> None:
    traffic = start(lambda question, trial: answer_of(CANDIDATE), canary_share=1)

    sent = divert(traffic)

    assert sent is not None
    assert sent.wait().release_id == CANDIDATE


@pytest.mark.parametrize("option", [{"release": LIVE}, {"fixed": True}, {"probe": True}])
def test_who_wants_the_version_addressed_stays(option: dict[str, object], start: Start) -> None:
    traffic = start(lambda question, trial: answer_of(CANDIDATE), canary_share=1)

    assert divert(traffic, **option) is None


def test_hanging_candidate_costs_its_timeout_and_never_more_threads_than_slots(
    start: Start, tmp_path: Path
) -> None:
    end = threading.Event()

    def hang(question: Question, trial: Trial) -> Answer:
        end.wait(20)
        raise CandidateError("too late")

    budget = CanaryBudget(timeout_ms=100, max_errors_in_a_row=AT_ONCE)
    traffic = start(hang, canary_share=1, budget=budget.model_dump())
    try:
        began = time.monotonic()
        sent = [divert(traffic) for _ in range(3 * AT_ONCE)]
        assert time.monotonic() - began < 10  # not the 20 s that each candidate hangs
        taken = [one for one in sent if one is not None]
        assert len(taken) == AT_ONCE  # the live release answers the others by itself
        assert {one.wait().release_id for one in taken} == {LIVE}
        assert divert(traffic) is None  # its slots are still taken
        deadline = time.monotonic() + 10  # counted after the senders have their answers
        while (trip := LivePlaces(tmp_path).read_trip(a_trial())) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert trip.reason == f"{AT_ONCE} answers failed one after the other"
    finally:
        end.set()


def test_answers_that_fail_at_the_same_moment_are_counted_together(
    start: Start, tmp_path: Path, quick_switches: None
) -> None:
    """Each round is a new trial, so its first answers race for the window that counts them."""
    budget = CanaryBudget(timeout_ms=10_000, max_errors_in_a_row=AT_ONCE)
    for number in range(8):
        together = threading.Barrier(AT_ONCE)

        def fail(question: Question, trial: Trial, ready: threading.Barrier = together) -> Answer:
            ready.wait(10)
            raise CandidateError("gone")

        trial_id = f"t{number}"
        traffic = start(fail, trial_id=trial_id, canary_share=1, budget=budget.model_dump())
        for sent in [divert(traffic) for _ in range(AT_ONCE)]:
            assert sent is not None
            sent.wait()
        traffic.close()
        trip = LivePlaces(tmp_path).read_trip(a_trial(trial_id=trial_id))
        assert trip is not None, f"round {number}"


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize(
    "error", [CandidateError("gone"), RuntimeError("bug"), ValueError("shape")]
)
def test_whatever_the_candidate_raises_the_live_release_answers(
    error: Exception, start: Start
) -> None:
    def fail(question: Question, trial: Trial) -> Answer:
        raise error

    sent = divert(start(fail, canary_share=1))

    assert sent is not None
    assert sent.wait().release_id == LIVE


def test_live_release_that_fails_too_tells_the_sender(tmp_path: Path) -> None:
    def fail(*_: object) -> Answer:
        raise RuntimeError("no memory")

    LivePlaces(tmp_path).write_trial(a_trial(canary_share=1))
    traffic = LiveTraffic(
        tmp_path, release_id=LIVE, answer=fail, ask=fail, warn=lambda message: None
    )
    sent = divert(traffic)
    traffic.close()

    assert sent is not None
    assert sent.wait().error == "RuntimeError: no memory"


def test_trial_against_another_release_is_none_of_this_process(start: Start) -> None:
    traffic = start(
        lambda question, trial: answer_of(CANDIDATE), canary_share=1, live_release_id="other"
    )

    assert divert(traffic) is None


def test_rolled_back_trial_stays_so_in_the_next_process_and_another_may_start(
    start: Start, tmp_path: Path
) -> None:
    LivePlaces(tmp_path).write_trip(a_trial(), "too slow")

    assert divert(start(lambda *_: answer_of(CANDIDATE), canary_share=1)) is None
    assert divert(start(lambda *_: answer_of(CANDIDATE), canary_share=1, trial_id="t2"))


def test_damaged_trial_is_none_and_is_told(tmp_path: Path) -> None:
    LivePlaces(tmp_path).write_trial(a_trial(canary_share=1))
    (tmp_path / "trial/trial.json").write_text('{"trial_id": ')
    told: list[str] = []
    traffic = LiveTraffic(
        tmp_path,
        release_id=LIVE,
        answer=lambda question: answer_of(LIVE),
        ask=lambda question, trial: answer_of(CANDIDATE),
        warn=told.append,
    )
    diverted = divert(traffic)
    traffic.close()

    assert diverted is None
    assert "trial.json cannot be read" in told[0]


def test_hanging_shadow_costs_no_query_and_its_queue_is_bounded(start: Start) -> None:
    end = threading.Event()

    def hang(question: Question, trial: Trial) -> Answer:
        end.wait(20)
        return answer_of(CANDIDATE)

    traffic = start(hang, shadow_share=1)
    began = time.monotonic()
    for _ in range(1000):
        traffic.answered(OAK_DESK, RequestOptions(), answer_of(LIVE), 1.0)
    assert time.monotonic() - began < 2
    end.set()
