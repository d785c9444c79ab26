"""The report as Prometheus metrics, Markdown and HTML."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.monitor import Watched
from mmr.monitoring.exposition import METRICS, _labels, render_metrics
from mmr.monitoring.pages import render_html, render_markdown
from mmr.monitoring.report import MonitorReport
from tests.monitoring import exposition_parser as exposition

HOSTILE = "<script>alert('|')</script> `sofa`"


@pytest.fixture
def report(look: Callable[..., MonitorReport], shop: Any, drawn: Any) -> MonitorReport:
    hostile = shop.records([HOSTILE] * 40, top_score=0.1, route="fallback")
    return look([*shop.records(drawn(700)), *hostile])


def test_textfile_is_whole_and_says_what_the_report_says(report: MonitorReport) -> None:
    found = exposition.parse(render_metrics(report))

    assert list(found) == list(METRICS)
    assert {family.kind for family in found.values()} == {"gauge"}
    values = {name: family.samples for name, family in found.items()}
    assert values["mmr_queries"] == {(): 740.0}
    assert values["mmr_logged_queries"] == {
        (("route", "fallback"),): 40.0,
        (("route", "live"),): 700.0,
    }
    p95 = report.measure(Watched.P95_MS).value
    assert p95 is not None
    assert values["mmr_search_latency_seconds"][(("quantile", "0.95"),)] == p95 / 1000
    assert values["mmr_monitor_status"][(("measure", "embedding_drift"),)] == 0
    assert values["mmr_monitor_status"][(("measure", "low_scores"),)] == 0
    assert values["mmr_monitor_window_seconds"] == {(): 7 * 86_400.0}
    assert len(values["mmr_query_embedding_psi"]) == 8


def test_what_is_not_known_has_no_sample_and_its_status_says_so(
    look: Callable[..., MonitorReport],
) -> None:
    found = exposition.parse(render_metrics(look([])))

    assert "mmr_search_latency_seconds" not in found
    assert "mmr_query_embedding_psi" not in found
    assert found["mmr_queries"].samples == {(): 0.0}
    assert set(found["mmr_monitor_status"].samples.values()) == {-1.0}


@given(st.text(max_size=40))
def test_any_text_survives_as_a_label(value: str) -> None:
    written = f"# HELP a b\n# TYPE a gauge\na{_labels({'x': value})} 1\n"
    if any(char in value for char in "\n"):
        assert "\\n" in written
    assert exposition.parse(written)["a"].samples == {(("x", value),): 1.0}


@pytest.mark.parametrize(
    "broken",
    [
        "a 1",
        "a 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a b\n# TYPE a gauge\na nan\n",
        '# HELP a b\n# TYPE a gauge\na{x="} 1\n',
        "# HELP a b\n# TYPE a gauge\nb 1\n",
    ],
)
def test_the_check_itself_finds_what_breaks_the_format(broken: str) -> None:
    with pytest.raises(AssertionError):
        exposition.parse(broken)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "rect", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polyline"):
            assert self.open.pop() == tag


def test_html_is_well_formed_shows_every_measure_and_runs_no_script(
    report: MonitorReport,
) -> None:
    page = render_html(report)
    tags = _Tags()
    tags.feed(page)

    assert tags.open == []
    assert "script" not in tags.seen
    assert "&lt;script&gt;" in page
    assert all(measure.title in page for measure in report.measures)
    assert tags.seen.count("svg") == 8 + 1 + 1  # axes, words, hours


def test_markdown_keeps_a_query_in_its_cell(report: MonitorReport) -> None:
    text = render_markdown(report)

    assert "<script>" not in text
    assert all(measure.title in text for measure in report.measures)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} <= {3, 5, 7}


def test_pages_of_an_empty_log_are_whole(look: Callable[..., MonitorReport]) -> None:
    report = look([])
    tags = _Tags()
    tags.feed(render_html(report))
    assert tags.open == []
    assert "# Monitor: not enough" in render_markdown(report)


def test_json_holds_the_whole_report(report: MonitorReport) -> None:
    record = json.loads(json.dumps(report.as_json(), allow_nan=False))

    assert record["format_version"] == 1
    assert {field.name for field in dataclasses.fields(report)} <= set(record)
    assert record["measures"][0]["limits"] == {"warn": 0.1, "breach": 0.25}
    assert record["low_queries"] == [[HOSTILE, 40]]
