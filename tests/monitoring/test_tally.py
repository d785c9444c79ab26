"""The query log in one pass: equal to a slow reading of all of it, whatever lies in it."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmr.monitoring.records import DamagedLineError, QueryRecord, parse_record
from mmr.monitoring.tally import RawLine, Tally

MakeTally = Callable[..., Tally]
SOUND = {
    "time": "2026-02-28T10:00:00+00:00",
    "release_id": "a" * 16,
    "route": "live",
    "query": "oak desk",
    "results": 3,
    "top_score": 0.7,
    "latency_ms": 2.0,
}


def raw(data: bytes, *, unfinished: bool = False) -> RawLine:
    return RawLine("a.jsonl:1", data, unfinished)


def line(**changes: Any) -> bytes:
    return json.dumps({**SOUND, **changes}).encode()


@given(st.binary(max_size=200))
def test_whatever_bytes_a_line_holds_it_is_a_record_or_is_named(data: bytes) -> None:
    try:
        assert isinstance(parse_record(data), QueryRecord)
    except DamagedLineError:
        return  # any other exception would end the look


@given(st.integers(1, len(line()) - 1))
def test_line_cut_anywhere_is_no_record(cut: int) -> None:
    with pytest.raises(DamagedLineError):
        parse_record(line()[:cut])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-02-28T10:00:00"}, "time"),
        ({"route": "elsewhere"}, "route"),
        ({"results": -1}, "results"),
        ({"top_score": "NaN"}, "top_score"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"latency_ms": float("inf")}, "latency_ms"),
        ({"share": 0}, "share"),
        ({"bins": [-1]}, "bins.0"),
        ({"shown": "p1"}, "shown"),
    ],
)
def test_wrong_field_is_named_and_its_value_is_not_told(
    changes: dict[str, Any], named: str
) -> None:
    """A damaged line may hold a query anywhere."""
    with pytest.raises(DamagedLineError, match=f"^{named}") as error:
        parse_record(line(**changes))
    assert "yesterday" not in str(error.value)
    assert "elsewhere" not in str(error.value)


def test_records_of_older_and_newer_servers_are_read() -> None:
    old = parse_record(line())
    assert (old.share, old.bins, old.words) == (1.0, None, None)
    assert parse_record(line(colour_of_the_moon="red")) == old


def test_damaged_lines_are_named_with_file_and_number_and_counted(tally: MakeTally) -> None:
    counted = tally()
    counted.read([raw(line() + b"\n"), raw(b"{torn\n"), raw(line()[:40]), raw(b"\n")])

    assert counted.records == 1
    assert counted.damaged == 3
    assert all(named.startswith("a.jsonl:1: ") for named in counted.damages)


def test_line_that_is_being_written_is_no_damage(tally: MakeTally) -> None:
    counted = tally()
    counted.read([raw(line()[:50], unfinished=True)])
    assert (counted.records, counted.damaged) == (0, 0)

    counted.read([raw(line(), unfinished=True)])
    assert (counted.records, counted.damaged) == (1, 0)


def test_thousands_of_damaged_lines_do_not_fill_the_report(tally: MakeTally) -> None:
    counted = tally()
    counted.read(raw(b"\x00") for _ in range(5000))
    assert counted.damaged == 5000
    assert len(counted.damages) == 20


@pytest.mark.parametrize("bins", [[1], [99] * 8, [0] * 9])
def test_bins_of_another_profile_are_damage(tally: MakeTally, bins: list[int]) -> None:
    counted = tally()
    counted.read([raw(line(bins=bins))])
    assert counted.damages == ["a.jsonl:1: bins: they are not those of the release's profile"]
    assert counted.records == 0


def test_only_the_window_and_the_release_count(tally: MakeTally) -> None:
    counted = tally(days=1)
    since, until = counted.window.since, counted.window.until
    moments = [since - timedelta(seconds=1), since, until - timedelta(seconds=1), until]
    counted.read(raw(line(time=moment.isoformat())) for moment in moments)
    counted.read([raw(line(time=since.isoformat(), release_id="b" * 16, route="canary"))])

    assert (counted.records, counted.outside) == (2, 2)
    assert counted.other_releases == {"b" * 16: 1}


def test_drawn_records_stand_for_those_that_were_not(tally: MakeTally) -> None:
    counted = tally()
    counted.read([*[raw(line(share=0.1))] * 3, *[raw(line())] * 4])
    assert counted.records == 7
    assert counted.volume == pytest.approx(34)


records = st.lists(
    st.fixed_dictionaries(
        {
            "query": st.sampled_from(["oak desk", "red sofa", "new thing", "lamp"]),
            "release_id": st.sampled_from(["a" * 16, "b" * 16]),
            "results": st.integers(0, 2),
            "top_score": st.none() | st.floats(0, 1),
            "latency_ms": st.floats(0, 100),
            "share": st.sampled_from([0.5, 1.0]),
            "words": st.none() | st.integers(0, 12),
            "shown": st.none() | st.lists(st.sampled_from(["p1", "p2", "gone"]), max_size=3),
            "error": st.none() | st.sampled_from(["RuntimeError"]),
            "time": st.sampled_from(["2026-02-28T10:00:00+00:00", "2026-02-28T10:59:59+01:00"]),
        }
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records)
def test_one_pass_counts_what_a_slow_reading_counts(
    tally: MakeTally, changes: list[dict[str, Any]]
) -> None:
    counted = tally()
    counted.read(raw(line(**change)) for change in changes)

    mine = [change for change in changes if change["release_id"] == "a" * 16]
    answered = [change for change in mine if change["error"] is None]
    assert counted.records == len(mine)
    assert counted.answered == len(answered)
    assert counted.volume == pytest.approx(sum(1 / change["share"] for change in mine))
    assert counted.zero_results == sum(change["results"] == 0 for change in answered)
    assert len(counted.keys) == len({change["query"] for change in answered})
    pages = [change["shown"] for change in answered if change["shown"] is not None]
    assert counted.seen == {p for page in pages for p in page} & {"p1", "p2"}
    assert sorted(counted.milliseconds) == sorted(change["latency_ms"] for change in answered)
    first = {change["query"]: change["words"] for change in reversed(answered)}
    assert sum(counted.lengths) == sum(words is not None for words in first.values())
    assert {hour.hour for hour in counted.slots} <= {9, 10}
    assert sum(slot.queries for slot in counted.slots.values()) == pytest.approx(counted.volume)
