"""The results of a ladder as Markdown, as rows of a CSV, and as rows for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mmr.evaluation.metrics import METRICS

METRIC_TITLES = {
    "recall_at_10": "Recall@10",
    "recall_at_100": "Recall@100",
    "ndcg_at_10": "NDCG@10",
    "mrr_at_10": "MRR@10",
}
_MINUS = "−"


Table = tuple[list[str], list[list[str]]]  # column titles, rows


def metric_table(record: Mapping[str, Any]) -> Table:
    """All metrics of each rung, ± their spread over seeds."""
    return ["rung", *METRIC_TITLES.values()], [
        [rung["title"], *(with_spread(rung["metrics"][metric]) for metric in METRICS)]
        for rung in record["rungs"]
    ]


def gain_table(record: Mapping[str, Any]) -> Table:
    """Gains in the primary metric over what a rung is compared with, and over text-only."""
    primary = record["primary_metric"]
    named = {rung["name"]: rung["title"] for rung in record["rungs"]}
    shown = f"{METRIC_TITLES[primary]} [{record['confidence']:.0%}]"
    titles = ["rung", "compared with", f"gain in {shown}", "p", "over text-only"]
    rows = []
    for rung in record["rungs"]:
        against, over_text = rung["against"], rung["against_text_only"]
        if against or over_text:
            compared = against["overall"][primary] if against else None
            rows.append(
                [
                    rung["title"],
                    named[against["reference"]] if against else "",
                    gain(compared) if compared else "",
                    _p(compared["p_value"]) if compared else "",
                    gain(over_text["overall"][primary]) if over_text else "",
                ]
            )
    return titles, rows


def slice_values(record: Mapping[str, Any]) -> Table:
    """The primary metric of each rung in each slice."""
    primary = record["primary_metric"]
    return _slice_titles(record), [
        [rung["title"], *(f"{rung['slices'][name][primary]:.3f}" for name in record["slices"])]
        for rung in record["rungs"]
    ]


def slice_gains(record: Mapping[str, Any], *, over: str = "against") -> Table:
    """The gain of each rung in each slice.

    Args:
        record: The results.
        over: `against` for what the rung is compared with, `against_text_only` for the baseline.
    """
    return _slice_titles(record), [
        [rung["title"], *(gain(rung[over]["slices"][name]) for name in record["slices"])]
        for rung in record["rungs"]
        if rung[over]
    ]


def _slice_titles(record: Mapping[str, Any]) -> list[str]:
    return ["rung", *(f"{name} ({part['queries']})" for name, part in record["slices"].items())]


def markdown(record: Mapping[str, Any]) -> str:
    """The tables of one ladder with what a reader must know to read them."""
    dataset, seeds = record["dataset"], record["seeds"]
    primary = METRIC_TITLES[record["primary_metric"]]
    parts = [
        f"# Ladder `{record['ladder']}` on {dataset['name']}\n",
        f"{record['question']}\n",
        f"{dataset['products']:,} products, {record['queries']:,} {record['split']} queries, each "
        f"ranked against the whole catalogue; preset `{record['preset']}`, "
        f"{seed_words(seeds)}. {reading(record)}\n",
        markdown_table(*metric_table(record)) + "\n",
        markdown_table(*gain_table(record)) + "\n",
        f"{primary} by slice (number of queries); slices under {record['min_slice_queries']} "
        "queries prove nothing:\n",
        markdown_table(*slice_values(record)) + "\n",
        f"Gain in {primary} by slice over what the rung is compared with:\n",
        markdown_table(*slice_gains(record)) + "\n",
        f"Gain in {primary} by slice over the tuned text-only tower:\n",
        markdown_table(*slice_gains(record, over="against_text_only")) + "\n",
        *(f"{line}\n" for line in remarks(record)),
        "\n".join(f"- **{rung['title']}**: {rung['description']}" for rung in record["rungs"]),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def reading(record: Mapping[str, Any]) -> str:
    """How the figures came about, in a sentence."""
    text = f"Gains are paired over queries, with a {record['confidence']:.0%} bootstrap interval"
    if len(record["seeds"]) > 1:
        return f"± is the standard deviation over seeds. {text} of each query's mean over seeds."
    return f"{text}."


def remarks(record: Mapping[str, Any]) -> list[str]:
    """What else a reader should know of a ladder: its order, what was left out or drawn back."""
    order = order_line(record) if record["ascending"] else ""
    return [line for line in (order, left_out_line(record), drawn_back_line(record)) if line]


def order_line(record: Mapping[str, Any]) -> str:
    """Whether each rung stands at or above the one it is compared with, in every seed."""
    broken = [
        f"{rung['title']} (seed {seed}, {METRIC_TITLES[metric]} {signed(value, 4)})"
        for rung in record["rungs"]
        if rung["against"]
        for metric in ("recall_at_10", "recall_at_100", "ndcg_at_10")
        for seed, value in zip(
            record["seeds"], rung["against"]["gain_by_seed"][metric], strict=True
        )
        if value < -1e-9  # rounding is no loss
    ]
    if not broken:
        return "In order in every seed, in Recall@10, Recall@100 and NDCG@10."
    return f"Not in order: {', '.join(broken)}."


def drawn_back_line(record: Mapping[str, Any]) -> str:
    """Which concatenations were drawn back towards the text, and how far; empty where none was."""
    found = [
        f"{rung['title']} (seed {training['seed']}, {stage['drawn_back']:.2f} of it is kept)"
        for rung in record["rungs"]
        for training in rung["training"]
        for stage in training["stages"]
        if stage.get("drawn_back") is not None
    ]
    if not found:
        return ""
    return f"Drawn back towards the text, to find no less than the rung below: {', '.join(found)}."


def left_out_line(record: Mapping[str, Any]) -> str:
    """Which stages had a figure below their floor and were left out; empty where none was."""
    seeds: dict[str, set[int]] = {}
    for rung in record["rungs"]:
        for training in rung["training"]:
            for stage in training["stages"]:
                if not stage.get("kept", True):
                    seeds.setdefault(stage["stage"], set()).add(training["seed"])
    if not seeds:
        return ""
    named = ", ".join(
        f"`{stage}` (seed{'s'[: len(of) > 1]} {', '.join(map(str, sorted(of)))})"
        for stage, of in sorted(seeds.items())
    )
    return f"Left out, because Recall@10, Recall@100 or NDCG@10 is lower with it: {named}."


def markdown_table(titles: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """A Markdown table; `|` in a cell is escaped."""
    lines = [list(titles), ["---"] * len(titles), *table]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def csv_rows(
    record: Mapping[str, Any], per_seed: Mapping[str, Mapping[int, pd.DataFrame]]
) -> Iterator[dict[str, Any]]:
    """One row a rung, seed (or `pooled`), slice (or `all`) and metric.

    Comparisons stand on the pooled rows: in every metric over all queries, in the primary metric
    for slices.
    """
    for rung in record["rungs"]:
        for seed, frame in per_seed[rung["name"]].items():
            for metric in METRICS:
                value = float(frame[metric].mean())
                yield _csv_row(rung, seed, "all", metric, value, record["queries"], None)
        for metric in METRICS:
            compared = (rung["against"] or {}).get("overall", {}).get(metric)
            value = rung["metrics"][metric]["mean"]
            yield _csv_row(rung, "pooled", "all", metric, value, record["queries"], compared)
        for name, part in rung["slices"].items():
            for metric in METRICS:
                compared = None
                if rung["against"] and metric == record["primary_metric"]:
                    compared = rung["against"]["slices"][name]
                yield _csv_row(
                    rung, "pooled", name, metric, part[metric], int(part["count"]), compared
                )


def _csv_row(
    rung: Mapping[str, Any],
    seed: int | str,
    part: str,
    metric: str,
    value: float,
    queries: int,
    compared: Mapping[str, Any] | None,
) -> dict[str, Any]:
    compared = compared or {}
    return {
        "rung": rung["name"],
        "seed": seed,
        "slice": part,
        "metric": metric,
        "value": value,
        "queries": queries,
        "reference": rung["against"]["reference"] if compared else None,
        **{name: compared.get(name) for name in ("gain", "ci_low", "ci_high", "p_value")},
    }


def with_spread(summary: Mapping[str, Any]) -> str:
    """`0.712` or `0.712 ± 0.004`."""
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.3f}"
    return f"{summary['mean']:.3f}{spread}"


def gain(compared: Mapping[str, Any]) -> str:
    """`+0.024 [+0.002, +0.045]`."""
    return (
        f"{signed(compared['gain'])} [{signed(compared['ci_low'])}, {signed(compared['ci_high'])}]"
    )


def signed(value: float, digits: int = 3) -> str:
    """`+0.024` or `−0.024`."""
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def seed_words(seeds: Sequence[int]) -> str:
    """`1 seed (7)` or `3 seeds (7, 8, 9)`."""
    return f"{len(seeds)} seed{'s'[: len(seeds) > 1]} ({', '.join(map(str, seeds))})"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
