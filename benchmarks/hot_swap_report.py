"""Figures of the hot-swap benchmark: failures, mixed answers, latency by window."""

import os
import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_WINDOW_S = 5.0
_MAX_SPIKE = 3.0


@dataclass(frozen=True)
class Change:
    """One command that changed what serves; times in seconds from the start of the load."""

    command: str
    began: float
    first_answer: float
    ended: float


@dataclass(frozen=True)
class Answered:
    """What one client saw; times in seconds of the machine's monotonic clock.

    Attributes:
        began: When each query was sent.
        milliseconds: How long each took.
        release_ids: Who answered each.
        failures: Messages of those that failed.
        mixed: Answers whose products do not belong to the release that they name.
    """

    began: list[float]
    milliseconds: list[float]
    release_ids: list[str]
    failures: list[str]
    mixed: list[str]


def sum_up(
    answers: Sequence[Answered],
    changes: Sequence[Change],
    *,
    began: float,
    conditions: Mapping[str, Any],
) -> dict[str, Any]:
    """All figures, and whether the promises held.

    Args:
        answers: What each client saw.
        changes: The commands, in order.
        began: Monotonic time from which on the load counts.
        conditions: Of the run; they go into the report as they are.
    """
    sent = np.concatenate([answer.began for answer in answers]) - began
    latency = np.concatenate([answer.milliseconds for answer in answers])
    counts = sent >= 0
    sent, latency = sent[counts], latency[counts]
    steady = latency[sent < changes[0].began]
    steady_p99 = float(np.percentile(steady, 99))
    windows = _windows(sent, latency, changes)
    worst = max(window["p99_ms"] for window in windows)
    failures = [failure for answer in answers for failure in answer.failures]
    mixed = [message for answer in answers for message in answer.mixed]
    return {
        "passed": not failures and not mixed and worst <= _MAX_SPIKE * steady_p99,
        "seconds": round(float(sent.max()), 1),
        **conditions,
        "cores": os.cpu_count(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "machine": platform.processor() or platform.machine(),
        "queries": len(latency),
        "queries_per_s": round(len(latency) / float(sent.max()), 1),
        "failed": len(failures),
        "mixed": len(mixed),
        "examples_of_failures": failures[:5] + mixed[:5],
        "answers_by_release": Counter(name for answer in answers for name in answer.release_ids),
        "steady_p50_ms": round(float(np.percentile(steady, 50)), 2),
        "steady_p99_ms": round(steady_p99, 2),
        "worst_window_p99_ms": round(worst, 2),
        "worst_window_against_steady": round(worst / steady_p99, 2),
        "median_window_p99_ms": round(statistics.median(w["p99_ms"] for w in windows), 2),
        "slowest_ms": round(float(latency.max()), 2),
        "window_s": _WINDOW_S,
        "changes": [asdict(change) for change in changes],
        "windows": windows,
    }


def _windows(
    sent: np.ndarray, latency: np.ndarray, changes: Sequence[Change]
) -> list[dict[str, float | str]]:
    windows: list[dict[str, Any]] = []
    for start in np.arange(0.0, sent.max() - _WINDOW_S / 2, _WINDOW_S):
        inside = (sent >= start) & (sent < start + _WINDOW_S)
        if inside.any():
            during = [c.command for c in changes if c.began < start + _WINDOW_S and c.ended > start]
            p50, p99 = np.percentile(latency[inside], [50, 99])
            windows.append(
                {
                    "from_s": float(start),
                    "queries": int(inside.sum()),
                    "p50_ms": round(float(p50), 2),
                    "p99_ms": round(float(p99), 2),
                    "during": ", ".join(during),
                }
            )
    return windows


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report for docs."""
    lines = [
        f"{report['seconds']:.0f} s, {report['clients']} clients, gRPC, {report['products']} "
        f"products, {report['cores']} cores shared by clients, server and commands, "
        f"{report['threads_per_model']} threads per model, load average "
        f"{report['load_average'][0]}: {report['queries']} queries, "
        f"**{report['failed']} failed, {report['mixed']} mixed**. "
        f"Steady p50 {report['steady_p50_ms']} ms, p99 {report['steady_p99_ms']} ms; the worst "
        f"window of {report['window_s']:.0f} s has a p99 of {report['worst_window_p99_ms']} ms "
        f"({report['worst_window_against_steady']} times the steady one).",
        "",
        "| change | began | first answer after | command ended |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c['command']} | {c['began']:.1f} s | {c['first_answer']:.1f} s | {c['ended']:.1f} s |"
        for c in report["changes"]
    ]
    lines += ["", "| from | queries | p50 | p99 | during |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {w['from_s']:.0f} s | {w['queries']} | {w['p50_ms']} ms | {w['p99_ms']} ms "
        f"| {w['during']} |"
        for w in report["windows"]
    ]
    return "\n".join([*lines, ""])
