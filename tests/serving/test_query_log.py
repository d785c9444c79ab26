"""The query log of a real Triton: what was answered is in it, and nothing else."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import ServingError
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.release.query_profile import QueryPlacer, QueryProfile
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.live.jsonl_log import read_log
from serving.live.places import LivePlaces
from serving.live.settings import QueryLogSettings, QueryText
from serving.process import RunningServer

Served = tuple[Workspace, RunningServer]
TITLES = [
    f"{colour} {kind}"
    for colour in ("white", "black", "red", "green", "blue")
    for kind in ("table", "chair", "lamp", "sofa", "desk")
]


@pytest.fixture
def client(served: Served) -> Iterator[SearchClient]:
    with SearchClient(served[1].grpc_url) as client:
        yield client


@pytest.fixture
def settle(served: Served) -> Iterator[Callable[..., None]]:
    """Changes the settings and waits until the server has seen them; the defaults at the end."""
    places = LivePlaces(served[0].serving)

    def change(**settings: Any) -> None:
        places.write_query_log_settings(QueryLogSettings(**settings))
        time.sleep(1.2)

    yield change
    change()


def logged(served: Served, *, holding: str, at_least: int = 1) -> list[dict[str, Any]]:
    """Records that hold a text, once there are enough of them."""
    deadline = time.monotonic() + 10
    while True:
        found = [
            record
            for record in read_log(LivePlaces(served[0].serving).query_log)
            if holding in str(record)
        ]
        if len(found) >= at_least or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_each_query_answered_is_a_record(
    served: Served, client: SearchClient, release_a: Path
) -> None:
    answer = client.search("Blue  Lamp notedone", 3)
    client.search_many(["blue lamp notedtwo", "blue lamp notedthree"], 4)

    records = logged(served, holding="blue lamp noted", at_least=3)
    assert [record["query"] for record in records] == [
        "blue lamp notedone",
        "blue lamp notedtwo",
        "blue lamp notedthree",
    ]
    first = records[0]
    assert list(first) == [
        *("time", "release_id", "route", "query", "k"),
        *("results", "top_score", "bins", "shown", "error"),
        *("latency_ms", "share", "words", "new_words"),
    ]
    assert (first["release_id"], first["route"]) == (release_a.name, "live")
    assert (first["k"], first["results"]) == (3, 3)
    assert first["top_score"] == pytest.approx(answer.hits[0].score, abs=1e-5)
    assert 0 < first["latency_ms"] < 10_000
    assert first["shown"] == [hit.product_id for hit in answer.hits]
    assert (first["words"], first["new_words"], first["share"]) == (3, 1, 1.0)
    assert first["error"] is None
    assert first["bins"] == _placed(release_a, "Blue  Lamp notedone")


def _placed(release: Path, text: str) -> list[int]:
    """Where a query lies among the training queries, without the server."""
    encoder = OnnxQueryEncoder(release / "query_encoder")
    profile = QueryProfile.read(release, encoder_fingerprint=encoder.fingerprint)
    assert profile is not None
    return QueryPlacer(profile).bins(encoder.encode([text]))[0].tolist()


def test_first_page_alone_is_on_record(served: Served, client: SearchClient) -> None:
    answer = client.search("a long list", 40)

    (record,) = logged(served, holding="a long list")
    assert record["results"] == 40
    assert record["shown"] == [hit.product_id for hit in answer.hits[:10]]


def test_probes_refusals_golden_queries_and_warm_ups_are_not_in_it(
    served: Served, client: SearchClient
) -> None:
    with SearchClient(served[1].grpc_url, probe=True) as probe:
        probe.search("a probe of the operator")
    with pytest.raises(ServingError, match="K is 0"):
        client.search("a refused query", 0)
    client.search("the query after them")

    assert logged(served, holding="the query after them")
    for text in ("a probe of the operator", "a refused query", "warm-up of a new version"):
        assert not logged(served, holding=text, at_least=0)


def test_hashed_log_holds_no_word_of_the_query(
    served: Served, client: SearchClient, settle: Callable[..., None]
) -> None:
    settle(query=QueryText.HASH)
    for _ in range(2):
        client.search("unmistakable words", 7)

    records = [record for record in logged(served, holding="query_hash", at_least=2)]
    assert len({record["query_hash"] for record in records}) == 1
    assert not any("query" in record for record in records)
    assert not logged(served, holding="unmistakable", at_least=0)


def test_hashed_log_tells_too_little_to_find_the_query_by_asking(
    served: Served, client: SearchClient, settle: Callable[..., None], release_a: Path
) -> None:
    settle(query=QueryText.HASH)
    for title in TITLES[:24]:
        client.search(f"{title} hidden", 5)
        client.search(f"{title} hidden", 5)

    records = [r for r in logged(served, holding="query_hash", at_least=48) if r["words"] == 3]
    told: dict[str, set[str]] = {}
    for record in records:
        assert record["shown"] is None
        assert record["top_score"] == round(record["top_score"], 2)
        axes = [axis for axis, place in enumerate(record["bins"]) if place is not None]
        assert len(axes) == 1  # of 8
        told.setdefault(record["query_hash"], set()).add(str(record["bins"]))
    assert len(told) == 24
    assert all(len(bins) == 1 for bins in told.values())  # asked again, it tells nothing more
    axes = {bins.index(place) for r in records for bins in [r["bins"]] for place in bins if place}
    assert len(axes) > 3  # and over many queries each axis is told of


def test_share_of_zero_logs_nothing_and_a_half_about_half(
    served: Served, client: SearchClient, settle: Callable[..., None]
) -> None:
    settle(share=0)
    client.search_many(["never logged"] * 60)
    settle(share=0.5)
    client.search_many(["logged by half"] * 200)
    client.search_many(["logged by half"] * 200)
    time.sleep(1.2)

    assert not logged(served, holding="never logged", at_least=0)
    assert 120 < len(logged(served, holding="logged by half")) < 280  # 200 +- 8 deviations


def test_nobody_can_be_found_in_it(served: Served, client: SearchClient) -> None:
    client.search("gift for ann@example.com tel 030 1234567", key="customer-4711")

    (record,) = logged(served, holding="gift for")
    assert record["query"] == "gift for <address> tel <number>"
    assert "4711" not in str(record)


def test_log_that_cannot_be_written_costs_no_answer(
    served: Served, client: SearchClient, release_a: Path
) -> None:
    """A file where the directory should be: nothing can be written below it."""
    log = LivePlaces(served[0].serving).query_log
    aside = log.with_name("query-log-aside")
    log.rename(aside)
    log.write_text("")
    try:
        assert client.search("white sofa").release_id == release_a.name
        time.sleep(1.2)
        assert client.search("white sofa").release_id == release_a.name
    finally:
        log.unlink()
        aside.rename(log)
    client.search("logged again")
    assert logged(served, holding="logged again")
