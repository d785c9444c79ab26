"""The report as a Prometheus textfile, which a node exporter picks up.

The text format 0.0.4: a metric's HELP and TYPE before its samples, one sample a line, a line feed
at the end. A value that is not known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from mmr.config.monitor import Watched
from mmr.monitoring.measure import Status
from mmr.monitoring.report import MonitorReport

METRICS: Mapping[str, str] = {
    "mmr_monitor_timestamp_seconds": "When the query log was last looked at, Unix time.",
    "mmr_monitor_window_seconds": "Length of the window that was looked at.",
    "mmr_monitor_release_info": "The release whose queries were looked at; always 1.",
    "mmr_monitor_status": "Of each measure: 0 ok, 1 warn, 2 breach, -1 not known.",
    "mmr_monitor_damaged_lines": "Lines of the query log that are no record.",
    "mmr_queries": "Queries asked in the window, unlogged ones included.",
    "mmr_distinct_queries": "Different queries among the logged ones.",
    "mmr_logged_queries": "Records of the query log, by who answered.",
    "mmr_query_embedding_psi": "Drift of the queries from the training queries, by principal axis.",
    "mmr_query_length_psi": "Drift of the number of words of a query.",
    "mmr_query_new_words_ratio": "Share of words that no training query had, above the usual.",
    "mmr_query_new_words_expected_ratio": "Share of new words that is usual.",
    "mmr_answer_low_score_ratio": "Share of answers with a low score.",
    "mmr_answer_zero_results_ratio": "Share of answers without a product.",
    "mmr_query_error_ratio": "Share of queries that the model failed.",
    "mmr_catalogue_coverage_ratio": "Share of the products that were on a first page.",
    "mmr_search_latency_seconds": "Time in the model, by quantile.",
}
"""Name and meaning; all of them gauges."""

_CODES = {Status.OK: 0, Status.WARN: 1, Status.BREACH: 2}
_QUANTILES = {Watched.P50_MS: "0.5", Watched.P95_MS: "0.95", Watched.P99_MS: "0.99"}
_VALUES = {
    "mmr_query_length_psi": Watched.LENGTH_DRIFT,
    "mmr_query_new_words_ratio": Watched.NEW_WORDS,
    "mmr_answer_low_score_ratio": Watched.LOW_SCORES,
    "mmr_answer_zero_results_ratio": Watched.ZERO_RESULTS,
    "mmr_query_error_ratio": Watched.ERRORS,
}

Sample = tuple[str, Mapping[str, str], float | None]


def render_metrics(report: MonitorReport) -> str:
    """Renders the textfile."""
    samples: dict[str, list[str]] = {name: [] for name in METRICS}
    for name, labels, value in _samples(report):
        if value is not None:
            samples[name].append(f"{name}{_labels(labels)} {float(value)!r}")
    return "".join(
        f"# HELP {name} {METRICS[name]}\n# TYPE {name} gauge\n" + "\n".join(lines) + "\n"
        for name, lines in samples.items()
        if lines
    )


def _samples(report: MonitorReport) -> Iterator[Sample]:
    made, since, until = (
        datetime.fromisoformat(text).timestamp()
        for text in (report.made_at, report.since, report.until)
    )
    yield "mmr_monitor_timestamp_seconds", {}, made
    yield "mmr_monitor_window_seconds", {}, until - since
    yield "mmr_monitor_release_info", {"release_id": report.release_id}, 1
    for measure in report.measures:
        yield "mmr_monitor_status", {"measure": measure.name}, _CODES.get(measure.status, -1)
    yield "mmr_monitor_damaged_lines", {}, report.damaged
    yield "mmr_queries", {}, report.queries
    yield "mmr_distinct_queries", {}, report.distinct
    for route, records in report.routes.items():
        yield "mmr_logged_queries", {"route": route}, records
    for axis in report.axes:
        yield "mmr_query_embedding_psi", {"axis": str(axis.axis)}, axis.psi
    yield "mmr_query_new_words_expected_ratio", {}, report.expected_new_words
    yield "mmr_catalogue_coverage_ratio", {}, report.coverage
    for name, watched in _VALUES.items():
        yield name, {}, report.measure(watched).value
    for watched, quantile in _QUANTILES.items():
        milliseconds = report.measure(watched).value
        seconds = None if milliseconds is None else milliseconds / 1000
        yield "mmr_search_latency_seconds", {"quantile": quantile}, seconds


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
