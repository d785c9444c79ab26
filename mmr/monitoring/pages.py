"""The report for people: HTML that needs nothing else, and Markdown."""

from __future__ import annotations

from pathlib import Path

import jinja2

from mmr.markdown import document, plain, table
from mmr.monitoring import charts
from mmr.monitoring.measure import Measure
from mmr.monitoring.report import MonitorReport

_TEMPLATES = Path(__file__).parent / "templates"
_SHARES = frozenset(("new_words", "low_scores", "zero_results", "errors", "unseen_products"))


def shown(measure: Measure, number: float | None) -> str:
    """A value of a measure in its unit."""
    if number is None:
        return "-"
    if measure.name.value in _SHARES:
        return f"{number:.2%}"
    return f"{number:.1f}" if measure.name.value.endswith("_ms") else f"{number:.3f}"


def interval(measure: Measure) -> str:
    """How sure a value is."""
    if measure.chance is not None:
        return f"chance reaches {measure.chance:.3f}"
    if measure.low is None or measure.low == measure.high:
        return ""
    return f"{shown(measure, measure.low)} to {shown(measure, measure.high)}"


def limits(measure: Measure) -> str:
    """What it is held to."""
    pair = (measure.limits.warn, measure.limits.breach)
    return " / ".join(shown(measure, limit) for limit in pair) if any(pair) else ""


def headline(report: MonitorReport) -> str:
    """The result in one sentence."""
    breached = ", ".join(measure.title for measure in report.breaches)
    return (
        f"{report.records:,} records of release {report.release_id}, {report.distinct:,} different "
        f"queries: {report.status}{f' ({breached})' if breached else ''}"
    )


def facts(report: MonitorReport) -> list[tuple[str, str]]:
    """What was looked at."""
    routes = ", ".join(f"{name} {count:,}" for name, count in report.routes.items()) or "none"
    others = sum(report.other_releases.values())
    coverage = "not recorded" if report.coverage is None else f"{report.coverage:.1%}"
    return [
        ("window (UTC)", f"{report.since} to {report.until}"),
        ("queries asked", f"about {report.queries:,.0f}"),
        ("records, by who answered", routes),
        ("catalogue on first pages", coverage),
        ("records of other releases, left out", f"{others:,}"),
        ("records outside the window, left out", f"{report.outside:,}"),
        ("damaged lines, left out", f"{report.damaged:,}"),
    ]


def render_markdown(report: MonitorReport) -> str:
    """Every measure, the axes, and what to look at first."""
    rows = [
        (m.title, shown(m, m.value), interval(m), limits(m), m.status, m.note)
        for m in report.measures
    ]
    heads = ("measure", "value", "interval", "warn / breach", "status", "note")
    axes = [
        (axis.axis, f"{axis.explained:.1%}", f"{axis.psi:.3f}", f"{axis.sample:,}")
        for axis in report.axes
    ]
    lists = {
        "New words": ("word", "distinct queries", report.new_words),
        "Queries with a low score": ("query", "times asked", report.low_queries),
    }
    return document(
        f"# Monitor: {report.status}",
        plain(headline(report)),
        table(heads, rows),
        *(
            ("## Embedding drift", table(("axis", "variance", "PSI", "queries"), axes))
            if axes
            else ()
        ),
        *(
            block
            for title, (head, count, pairs) in lists.items()
            if pairs
            for block in (f"## {title}", table((head, count), pairs))
        ),
        *(
            ("## Damaged lines", "\n".join(f"- {plain(line)}" for line in report.damages))
            if report.damages
            else ()
        ),
        "## What was looked at",
        table(("what", "value"), facts(report)),
    )


def render_html(report: MonitorReport) -> str:
    """The same with plots."""
    lengths = report.expected_lengths
    asked, trained = sum(report.lengths), sum(lengths or [])
    return (
        _environment()
        .get_template("monitor.html.j2")
        .render(
            report=report,
            headline=headline(report),
            rows=[(m, shown(m, m.value), interval(m), limits(m)) for m in report.measures],
            axes=[(axis, charts.share_bars(axis.observed, axis.expected)) for axis in report.axes],
            lengths=charts.share_bars(
                [count / asked for count in report.lengths],
                [count / trained for count in lengths],
            )
            if lengths and asked
            else [],
            hours=charts.hour_chart(report.hours),
            bars_size=(charts.BARS_WIDTH, charts.BARS_HEIGHT),
            hours_size=(charts.HOURS_WIDTH, charts.HOURS_HEIGHT),
            facts=facts(report),
        )
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,  # queries come from customers: never trusted
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
