"""Prints a run's summary."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.example_searches import search_table
from pipelines.summary import RunSummary

_METRICS = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")
_SYSTEM_TITLES = {"text_only": "text-only", "champion": "champion", "candidate": "fused"}
_DECISION_STYLE = {"promote": "green", "hold": "yellow", "reject": "red"}


def show_summary(summary: RunSummary, console: Console) -> None:
    """Prints what a run did: dataset, steps, metrics, decision, release, searches, places."""
    console.print()
    _show_dataset(summary, console)
    console.print(_steps_table(summary))
    console.print(_metrics_table(summary.gate))
    _show_decision(summary, console)
    for search in summary.searches:
        console.print(search_table(search))
    if summary.search_note:
        console.print(summary.search_note, markup=False)
    console.print(f"report        {summary.report}", markup=False)
    console.print(f"data docs     {summary.data_docs}", markup=False)
    console.print(f"MLflow        {summary.tracking_uri}", markup=False)


def _show_dataset(summary: RunSummary, console: Console) -> None:
    manifest = summary.dataset
    console.print(
        f"[bold]{manifest.name}[/]: {manifest.products:,} products "
        f"({manifest.products_without_image:,} without image), {manifest.queries:,} queries, "
        f"{manifest.judgements:,} judgements; content {manifest.content_hash[:12]}"
    )


def _steps_table(summary: RunSummary) -> Table:
    table = Table("step", "", title=f"Steps, {summary.seconds:.0f} s in all", title_style="bold")
    table.title_justify = "left"
    table.columns[1].justify = "right"
    for step in summary.steps:
        table.add_row(step.name, f"{step.seconds:.1f} s" if step.status == "done" else step.status)
    return table


def _metrics_table(gate: dict[str, Any]) -> Table:
    """Every system's metrics, and the candidate's gains with their intervals."""
    metrics, comparisons = gate["metrics"], gate["comparisons"]
    systems = [key for key in ("text_only", "champion", "candidate") if key in metrics]
    references = [key for key in ("text_only", "champion") if key in comparisons]
    table = Table("metric", title="Validation queries, whole catalogue", title_style="bold")
    table.title_justify = "left"
    for key in systems:
        table.add_column(_SYSTEM_TITLES[key], justify="right")
    for key in references:
        table.add_column(f"gain over {_SYSTEM_TITLES[key]}", justify="right")
    for name in _METRICS:
        gains = [comparisons[key]["overall"][name] for key in references]
        table.add_row(
            name,
            *(f"{metrics[key]['overall'][name]:.3f}" for key in systems),
            *(f"{g['gain']:+.3f} [{g['ci_low']:+.3f}, {g['ci_high']:+.3f}]" for g in gains),
        )
    return table


def _show_decision(summary: RunSummary, console: Console) -> None:
    gate = summary.gate
    decision = gate["decision"]
    console.print(
        f"gate: [bold {_DECISION_STYLE[decision]}]{decision}[/] against {gate['baseline_name']}"
    )
    for reason in gate["reasons"]:
        if not reason["passed"]:
            console.print(f"  {reason['rule']}: {reason['detail']}", markup=False)
    for stage in gate.get("stages_left_out", []):
        console.print(f"left out, as it did not help: {stage}", markup=False)
    if summary.index is not None:
        console.print(
            f"index: {summary.index['kind']}, {summary.index['rows']:,} products, recall@100 "
            f"{summary.index['recall_at_100']:.4f} against exact search"
        )
    if summary.release_id is None:
        console.print("release: none was built")
    else:
        if summary.deployed:
            state = "serves now"
        elif summary.champion:
            state = "is the champion already: nothing new was released"
        else:
            command = f"mmr deploy {summary.release_id} --workspace {summary.workspace}"
            state = f"waits for you: `{command}`"
        console.print(f"release: [bold]{summary.release_id}[/] {state}")
