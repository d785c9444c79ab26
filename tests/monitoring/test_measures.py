"""What raises an alarm, and what must not."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from mmr.config.monitor import Limits, MonitorConfig, Watched
from mmr.monitoring.measure import Status
from mmr.monitoring.report import MonitorReport
from mmr.release.query_words import word_key

Look = Callable[..., MonitorReport]
Drawn = Callable[..., list[str]]


def status(report: MonitorReport, name: Watched) -> Status:
    return report.measure(name).status


def test_queries_like_those_of_the_training_raise_no_alarm(
    look: Look, shop: Any, drawn: Drawn
) -> None:
    report = look(shop.records(drawn(2000)))

    known = {m.name: m.status for m in report.measures}
    assert set(known.values()) == {Status.OK}, known
    assert report.status is Status.OK
    assert report.measure(Watched.EMBEDDING_DRIFT).value < 0.1


def test_a_query_asked_again_and_again_is_no_drift(look: Look, shop: Any, drawn: Drawn) -> None:
    """Training counts each query once, so live queries count once too."""
    report = look(shop.records([*drawn(2000), *["oak desk office"] * 4000]))

    assert status(report, Watched.EMBEDDING_DRIFT) is Status.OK
    assert report.records == 6000
    assert report.distinct == len({*drawn(2000), "oak desk office"})


def test_other_queries_are_a_breach_on_an_axis(look: Look, shop: Any, drawn: Drawn) -> None:
    report = look(shop.records(drawn(3000, colours=("oak",), types=("desk", "bed", "sofa"))))
    few = report.measure(Watched.EMBEDDING_DRIFT)
    assert few.status is Status.NOT_ENOUGH  # 15 different queries

    garden = [f"{colour} {word}{n} garden" for colour in ("oak", "grey") for n in range(150)
              for word in ("hammock", "grill")]  # fmt: skip
    report = look(shop.records(garden))
    drift = report.measure(Watched.EMBEDDING_DRIFT)
    assert drift.status is Status.BREACH
    assert drift.value == max(axis.psi for axis in report.axes)
    assert drift.value > drift.chance > 0
    assert report.measure(Watched.NEW_WORDS).status is Status.BREACH
    assert report.status is Status.BREACH


def test_longer_queries_are_a_breach_of_length_alone(look: Look, shop: Any, drawn: Drawn) -> None:
    longer = [f"{one} {other}" for one, other in zip(drawn(900), drawn(901)[1:], strict=True)]
    report = look(shop.records(longer))

    found = report.measure(Watched.LENGTH_DRIFT)
    assert found.status is Status.BREACH
    assert found.note == "6.0 words, 3.0 in training"
    assert status(report, Watched.NEW_WORDS) is Status.OK


@pytest.mark.parametrize("count", [0, 1, 30, 150])
def test_few_queries_raise_no_alarm_whatever_they_are(look: Look, shop: Any, count: int) -> None:
    odd = [f"xylophone{n} zither{n}" for n in range(count)]
    report = look(shop.records(odd, top_score=0.01, results=0, latency_ms=9_999.0))

    assert not report.breaches
    assert report.status in (Status.NOT_ENOUGH, Status.OK)
    assert status(report, Watched.EMBEDDING_DRIFT) is Status.NOT_ENOUGH
    assert status(report, Watched.LOW_SCORES) is Status.NOT_ENOUGH


def test_share_just_above_its_limit_by_chance_is_no_breach(
    look: Look, shop: Any, drawn: Drawn
) -> None:
    texts = drawn(400)
    poor = shop.records(texts[:128], top_score=0.1)  # 32 %, the limit is 30 %
    fine = shop.records(texts[128:])
    report = look([*poor, *fine])
    assert status(report, Watched.LOW_SCORES) is Status.WARN  # surely above 15 %

    report = look(shop.records(drawn(400), top_score=0.1))
    assert status(report, Watched.LOW_SCORES) is Status.BREACH
    assert report.low_queries


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"results": 0, "top_score": None, "shown": []}, Watched.ZERO_RESULTS),
        ({"error": "RuntimeError", "results": 0, "top_score": None}, Watched.ERRORS),
        ({"latency_ms": 400.0}, Watched.P95_MS),
    ],
)
def test_what_goes_wrong_in_serving_is_a_breach_of_its_own_measure(
    look: Look, shop: Any, drawn: Drawn, changes: dict[str, Any], name: Watched
) -> None:
    texts = drawn(600)
    report = look([*shop.records(texts[:500]), *shop.records(texts[500:], **changes)])

    assert [m.name for m in report.breaches] == [name]


def test_failures_count_neither_as_empty_answers_nor_as_slow_ones(
    look: Look, shop: Any, drawn: Drawn
) -> None:
    failed = {"error": "RuntimeError", "results": 0, "top_score": None, "latency_ms": 5000.0}
    report = look([*shop.records(drawn(500)), *shop.records(drawn(40), **failed)])

    assert report.measure(Watched.ZERO_RESULTS).value == 0
    assert report.measure(Watched.P95_MS).value < 10
    assert report.measure(Watched.ERRORS).note == "40 of 540: RuntimeError 40"


def test_coverage_is_the_share_of_the_catalogue_on_a_first_page(
    look: Look, shop: Any, drawn: Drawn
) -> None:
    shown = ["p1", "p2", "p3", "no longer sold"]
    records = shop.records(drawn(300), shown=shown)
    report = look(records, MonitorConfig(unseen_products=Limits(breach=0.5)))

    assert report.coverage == 0.03
    assert report.measure(Watched.UNSEEN_PRODUCTS).value == 0.97
    assert [m.name for m in report.breaches] == [Watched.UNSEEN_PRODUCTS]
    assert look(shop.records(drawn(300), shown=None)).coverage is None


def test_hashed_records_tell_drift_of_one_axis_each_and_no_words_of_text(
    look: Look, shop: Any
) -> None:
    def hashed(texts: list[str]) -> list[dict[str, Any]]:
        records = shop.records(texts)
        for record in records:
            text = record.pop("query")
            chosen = int(word_key(text), 16) % 8
            record |= {"query_hash": word_key(text), "shown": None}
            record["bins"] = [b if n == chosen else None for n, b in enumerate(record["bins"])]
        return records

    far = [f"oak hammock{n} garden" for n in range(2400)]
    report = look(hashed(far))
    drift = report.measure(Watched.EMBEDDING_DRIFT)
    assert drift.status is Status.BREACH
    assert drift.sample < 2400 / 8 < len(far)
    assert report.new_words == []
    assert report.low_queries == []
    assert look(hashed(far[:800])).measure(Watched.EMBEDDING_DRIFT).status is Status.NOT_ENOUGH


def test_release_without_a_profile_says_so_and_the_rest_is_told(
    look: Look, shop: Any, drawn: Drawn
) -> None:
    records = shop.records(drawn(600), bins=None, new_words=None)
    report = look(records, with_profile=False)

    for name in (
        Watched.EMBEDDING_DRIFT,
        Watched.LENGTH_DRIFT,
        Watched.NEW_WORDS,
        Watched.LOW_SCORES,
    ):
        measure = report.measure(name)
        assert measure.status is Status.NOT_RECORDED
        assert "`mmr run` makes one that has" in measure.note
    assert status(report, Watched.P95_MS) is Status.OK
    assert report.status is Status.OK


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"warn \(0.3\) must not be above breach \(0.2\)"):
        MonitorConfig(low_scores=Limits(warn=0.3, breach=0.2))


def test_absent_limit_is_never_exceeded(look: Look, shop: Any, drawn: Drawn) -> None:
    none = dict.fromkeys((name.value for name in Watched), Limits())
    report = look(
        shop.records([f"{text} x{n}" for n, text in enumerate(drawn(600))], latency_ms=1e6),
        MonitorConfig(**none),
    )
    assert report.status is Status.OK
