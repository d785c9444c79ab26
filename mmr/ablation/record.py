"""The results of a ladder as plain values, and the files they become.

OUT/results.json       everything below, machine-readable; equal for equal models
OUT/table.md           metrics, gains, slices for people
OUT/table.csv          one row a rung, seed, slice and metric
OUT/plot.svg           mean and interval of each rung
OUT/per_query.parquet  one row a rung, seed and query
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.ablation.plot import ladder_plot
from mmr.ablation.pooling import MeasuredRung, comparison, metric_summary, slice_summary
from mmr.ablation.rungs import Ladder
from mmr.ablation.tables import csv_rows, markdown
from mmr.atomic import new_directory, write_json, write_text
from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.evaluation.slices import Slice
from mmr.evaluation.systems import Task

FORMAT_VERSION = 1


@dataclass(frozen=True)
class LadderContext:
    """What a ladder was measured on and how.

    Attributes:
        ladder: Its question and rungs.
        dataset: The dataset.
        task: Queries, judgements and catalogue.
        slices: Named sets of the queries.
        config: Confidence, resamples, primary metric.
        preset: Name of the preset, or the settings file's.
        settings_hash: Of `training_settings_hash`.
        seeds: All seeds, in order.
        partial: Whether rungs were left out on demand.
    """

    ladder: Ladder
    dataset: Dataset
    task: Task
    slices: Sequence[Slice]
    config: GateConfig
    preset: str
    settings_hash: str
    seeds: Sequence[int]
    partial: bool


def results_record(context: LadderContext, measured: Sequence[MeasuredRung]) -> dict[str, Any]:
    """Everything that the ladder says; see the module's docstring for where it goes."""
    by_name = {entry.rung.name: entry for entry in measured}
    baseline = measured[0]
    manifest = context.dataset.manifest
    config = context.config
    return {
        "format_version": FORMAT_VERSION,
        "ladder": context.ladder.name,
        "question": context.ladder.question,
        "ascending": context.ladder.ascending,
        "partial": context.partial,
        "dataset": {
            "name": manifest.name,
            "content_hash": manifest.content_hash,
            "products": manifest.products,
        },
        "split": "validation",
        "queries": len(context.task.queries),
        "preset": context.preset,
        "training_settings": context.settings_hash,
        "seeds": list(context.seeds),
        "metric_version": METRIC_VERSION,
        "primary_metric": config.primary_metric,
        "confidence": config.confidence,
        "resamples": config.resamples,
        "min_slice_queries": config.min_slice_queries,
        "slices": {
            part.name: {"meaning": part.meaning, "queries": len(part.query_ids)}
            for part in context.slices
        },
        "rungs": [
            _rung_record(context, entry, by_name=by_name, baseline=baseline) for entry in measured
        ],
    }


def _rung_record(
    context: LadderContext,
    entry: MeasuredRung,
    *,
    by_name: dict[str, MeasuredRung],
    baseline: MeasuredRung,
) -> dict[str, Any]:
    def against(reference: MeasuredRung | None) -> dict[str, Any] | None:
        if reference is None or reference is entry:
            return None
        return comparison(entry, reference, slices=context.slices, config=context.config)

    rung = entry.rung
    return {
        "name": rung.name,
        "title": rung.title,
        "description": rung.description,
        "steps": [step.value for step in rung.steps],
        "overrides": dict(rung.overrides),
        "view": rung.view.value,
        "training": list(entry.training),
        "metrics": metric_summary(entry, context.config),
        "slices": slice_summary(entry, context.slices),
        "against": against(by_name.get(rung.against) if rung.against else None),
        "against_text_only": against(baseline),
    }


def results_name(ladder: str, dataset: str) -> str:
    """Name of a result's directory and plot: `paper-home`."""
    return re.sub(r"[^\w.-]+", "-", f"{ladder}-{dataset}").strip("-.")


def write_results(
    out: Path, record: dict[str, Any], measured: Sequence[MeasuredRung], task: Task
) -> None:
    """Writes the directory `out`, replacing an older one of the same ladder."""
    with new_directory(out, replace=True) as scratch:
        write_json(scratch / "results.json", record)
        write_text(scratch / "table.md", markdown(record))
        write_text(scratch / "plot.svg", ladder_plot(record))
        rows = csv_rows(record, {e.rung.name: e.per_seed for e in measured})
        pd.DataFrame(rows).to_csv(scratch / "table.csv", index=False)
        _per_query(measured, task).to_parquet(scratch / "per_query.parquet", index=False)


def _per_query(measured: Sequence[MeasuredRung], task: Task) -> pd.DataFrame:
    queries = task.queries[["query_id", "query", "kind"]].reset_index(drop=True)
    parts = []
    for entry in measured:
        for seed, frame in entry.per_seed.items():
            part = queries.assign(rung=entry.rung.name, seed=seed)
            for metric in METRICS:
                part[metric] = frame[metric].to_numpy()
            parts.append(part)
    return pd.concat(parts, ignore_index=True)
