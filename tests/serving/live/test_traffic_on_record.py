"""What the query log and the shadow log hold of the traffic, without Triton."""

from pathlib import Path

import numpy as np

from mmr.monitoring.reference import fit_profile
from mmr.release.query_profile import QueryPlacer
from serving.live.jsonl_log import read_log
from serving.live.places import LivePlaces
from serving.models.engine import Question
from serving.models.requests import RequestOptions
from tests.serving.live.small_trial import LIVE, OAK_DESK, Sent, a_trial, answer_of, quiet_traffic


def test_everything_answered_is_on_record_when_the_process_ends(tmp_path: Path) -> None:
    LivePlaces(tmp_path).write_trial(a_trial(shadow_share=1))
    traffic = quiet_traffic(tmp_path)
    for _ in range(20):
        traffic.answered(OAK_DESK, RequestOptions(), answer_of(LIVE), 1.0)
    traffic.close()

    places = LivePlaces(tmp_path)
    assert len(list(read_log(places.query_log))) == 20
    compared = list(read_log(places.shadow_log))
    assert len(compared) == 20
    assert {record["overlap"] for record in compared} == {0.0}
    assert not list(places.query_log.glob("*.open"))


def test_failure_is_on_record_by_its_type_alone(tmp_path: Path) -> None:
    """Its text could hold what a customer typed."""
    traffic = quiet_traffic(tmp_path)
    error = RuntimeError("no memory for 'oak desk of ann'")
    traffic.failed(OAK_DESK, RequestOptions(), error, 3.0)
    traffic.failed(OAK_DESK, RequestOptions(probe=True), error, 3.0)
    traffic.close()

    (record,) = read_log(LivePlaces(tmp_path).query_log)
    assert (record["error"], record["results"], record["latency_ms"]) == ("RuntimeError", 0, 3.0)
    assert (record["top_score"], record["shown"], record["bins"]) == (None, None, None)
    assert "ann" not in str(record)


def test_words_are_new_to_the_release_that_answered_or_not_known(tmp_path: Path) -> None:
    profile = fit_profile(
        ["oak table", "red desk"], lambda texts: np.eye(4)[: len(texts)], encoder_fingerprint="f"
    )
    assert profile is not None
    LivePlaces(tmp_path).write_trial(a_trial(canary_share=1))
    traffic = quiet_traffic(tmp_path, placer=QueryPlacer(profile))
    asked = Question(["Oak Desk deluxe"], k=2)
    traffic.answered(asked, RequestOptions(), answer_of(LIVE), 1.0)
    sent = Sent()
    assert traffic.divert(asked, RequestOptions(), lambda: sent)
    sent.wait()
    traffic.close()

    found = {r["route"]: (r["words"], r["new_words"]) for r in logged_queries(tmp_path)}
    assert found == {"live": (3, 1), "canary": (3, None)}


def logged_queries(home: Path) -> list[dict[str, object]]:
    return list(read_log(LivePlaces(home).query_log))
