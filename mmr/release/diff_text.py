"""The comparison of two releases as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmr.release.diff import Change, ReleaseDiff

_BASIS = {
    "one gate": "Both answered the same queries in one gate.",
    "two gates": "Each was judged by a gate of its own, on the same data.",
    "different metrics": "Judged by metrics of different meaning: the figures cannot be compared "
    "one to one.",
    "different data": "Judged on different data: the figures cannot be compared one to one.",
}
_VALUE_CHARACTERS = 60


def render_diff(diff: ReleaseDiff) -> str:
    """Sections of aligned columns; parts without a difference are one line."""
    return "\n".join(
        [
            f"{diff.first} → {diff.second}",
            _BASIS[diff.basis],
            "",
            *_metrics(diff),
            "",
            *_section("Origin", diff.origin),
            "",
            *_section("Settings", diff.settings),
            "",
            *_queries(diff),
        ]
    )


def _metrics(diff: ReleaseDiff) -> Iterator[str]:
    names = list(diff.metrics.get("overall", {}))
    main = [diff.metric, *(name for name in names if name not in (diff.metric, "count"))]
    rows = [("overall", name) for name in main]
    rows += [(part, diff.metric) for part in diff.metrics if part != "overall"]
    width = max(len(f"{part}  {name}") for part, name in rows)
    yield f"{'Metrics':<{width}}  {'before':>8}  {'after':>8}  {'change':>8}  queries"
    for part, name in rows:
        values = diff.metrics.get(part, {})
        change = values.get(name, Change(None, None))
        count = values.get("count", Change(None, None)).after
        label = f"{part}  {name}"
        yield (
            f"{label:<{width}}  {_figure(change.before)}  {_figure(change.after)}  "
            f"{_difference(change)}  {'-' if count is None else f'{count:.0f}':>7}"
        )


def _section(title: str, changes: dict[str, Change]) -> Iterator[str]:
    if not changes:
        yield f"{title}: no difference"
        return
    yield title
    width = max(len(name) for name in changes)
    for name, change in changes.items():
        yield f"  {name:<{width}}  {_value(change.before)} → {_value(change.after)}"


def _queries(diff: ReleaseDiff) -> Iterator[str]:
    yield (
        f"Queries by {diff.metric}: {diff.better} better, {diff.worse} worse, {diff.same} the same"
    )
    for query in diff.queries:
        change = _difference(Change(query.before, query.after))
        text = visible(query.query or query.query_id)
        yield f"  {change}  {query.before:.4f} → {query.after:.4f}  {text}"


def _figure(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.4f}':>8}"


def _difference(change: Change) -> str:
    known = change.before is not None and change.after is not None
    return f"{f'{change.after - change.before:+.4f}' if known else '-':>8}"


def _value(value: Any) -> str:
    text = "none" if value is None else visible(str(value))
    return text if len(text) <= _VALUE_CHARACTERS else text[: _VALUE_CHARACTERS - 1] + "…"


def visible(text: str) -> str:
    """Without control characters, which could rewrite the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
