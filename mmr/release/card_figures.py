"""What a gate recorded, as the sections of a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmr.markdown import UNKNOWN, plain, table
from mmr.release.evidence import GateEvidence


def decision(gate: GateEvidence) -> str:
    """What the gate decided, and every rule."""
    reasons = gate.record.get("reasons", [])
    against = gate.baseline_name or UNKNOWN
    said = f"The gate decided **{gate.record.get('decision', UNKNOWN)}** against {plain(against)}."
    rows = [
        (reason.get("rule"), "yes" if reason.get("passed") else "**no**", reason.get("detail"))
        for reason in reasons
    ]
    return f"{said}\n\n{table(('rule', 'holds', 'detail'), rows)}" if rows else said


def figures(gate: GateEvidence) -> str:
    """Each metric against each reference, with its interval; means where nothing was compared."""
    sections = [
        f"Against {plain(str(comparison.get('reference', key)))}:\n\n"
        + _comparison_table(comparison.get("overall", {}), "metric", _confidence(gate))
        for key, comparison in gate.record.get("comparisons", {}).items()
        if key != "baseline"  # the deciding one, under its second name
    ]
    if sections:
        return "\n\n".join(sections)
    means = gate.means("candidate")["overall"]
    if not means:
        return "None on record: no query was judged."
    return table(("metric", "mean"), [(name, f"{value:.4f}") for name, value in means.items()])


def slices(gate: GateEvidence) -> str:
    """The deciding metric by slice, and what each slice means."""
    comparison = gate.record.get("comparisons", {}).get("baseline", {})
    if not comparison.get("slices"):
        return "None on record."
    meanings = gate.record.get("slices", {})
    lines = [f"- {plain(name)}: {plain(str(meaning))}" for name, meaning in meanings.items()]
    figures = _comparison_table(comparison["slices"], "slice", _confidence(gate))
    reference = plain(str(comparison.get("reference", UNKNOWN)))
    return f"In {gate.primary_metric}, against {reference}:\n\n{figures}\n\n" + "\n".join(lines)


def worst_queries(gate: GateEvidence) -> str:
    """The queries that lose most, with both results."""
    worst = gate.record.get("worst_queries")
    if not worst:
        return "None on record."
    rows = [
        (query["query"], f"{query['reference']:.4f}", f"{query['candidate']:.4f}")
        for query in worst
    ]
    return table(("query", f"{gate.primary_metric} before", "after"), rows)


def _comparison_table(parts: Mapping[str, Mapping[str, Any]], what: str, interval: str) -> str:
    rows = [
        (
            *(name, part["queries"], f"{part['candidate']:.4f}", f"{part['reference']:.4f}"),
            f"{part['gain']:+.4f}",
            f"{part['ci_low']:+.4f} to {part['ci_high']:+.4f}",
            *(f"{part['p_value']:.4f}", f"{part['better']} / {part['worse']}"),
        )
        for name, part in parts.items()
    ]
    heads = (what, "queries", "candidate", "reference", "gain", interval, "p", "better / worse")
    return table(heads, rows)


def _confidence(gate: GateEvidence) -> str:
    level = gate.record.get("policy", {}).get("confidence")
    return "interval" if level is None else f"{level:.0%} interval"
