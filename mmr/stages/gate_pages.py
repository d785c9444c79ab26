"""What people read of a gate: the HTML report and its short form in Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmr.atomic import write_text
from mmr.data.dataset import Dataset
from mmr.evaluation.evaluate import Evaluation
from mmr.evaluation.examples import Example, build_example, thumbnail, top_product_ids
from mmr.evaluation.gate_text import render_text
from mmr.evaluation.modalities import ModalityReport
from mmr.evaluation.report import ReportPlan, render_report

REPORT, TEXT = "report.html", "gate.md"
_IMAGE_ROWS = 1024


def worst_examples(evaluation: Evaluation, data: Dataset) -> list[Example]:
    """The queries that lose most, with the first products of both systems and their titles."""
    sides = (evaluation.references[0], evaluation.candidate)
    shown = {
        product_id
        for gain in evaluation.worst
        for system in sides
        for product_id in top_product_ids(evaluation.task, system, gain.row)
    }
    titles = _titles(data, shown)
    return [
        build_example(
            gain,
            evaluation.task,
            candidate=evaluation.candidate,
            reference=evaluation.references[0],
            titles=titles,
            pictures={},
            scores={},
        )
        for gain in evaluation.worst
    ]


def write_pages(
    out: Path,
    evaluation: Evaluation,
    plan: ReportPlan,
    modalities: ModalityReport,
    record: Mapping[str, Any],
    data: Dataset,
    *,
    worst: list[Example],
) -> None:
    """Writes `report.html` and `gate.md`.

    Args:
        out: The gate's directory.
        evaluation: What was measured and decided.
        plan: Of `plan_report`.
        modalities: What text and image are worth to the candidate.
        record: `gate.json`.
        data: The dataset, for titles and pictures.
        worst: Of `worst_examples`.
    """
    facts = {
        **record["lineage"],
        "stages_left_out": "; ".join(record["stages_left_out"]),
        **{f"{k} version": v for k, v in record["versions"].items()},
    }
    named = {name.replace("_", " "): str(value) for name, value in facts.items() if value}
    page = render_report(
        evaluation,
        plan,
        titles=_titles(data, plan.product_ids),
        pictures=_pictures(data, set(plan.product_ids)),
        facts=named,
        modalities=modalities,
    )
    write_text(out / REPORT, page)
    write_text(out / TEXT, render_text(evaluation, worst=worst, facts=named))


def _titles(data: Dataset, wanted: Iterable[str]) -> dict[str, str]:
    table = data.product_table(["product_id", "title"])
    names = pa.array(sorted(wanted), pa.string())
    table = table.filter(pc.is_in(table["product_id"], value_set=names))
    return {row["product_id"]: row["title"] or "" for row in table.to_pylist()}


def _pictures(data: Dataset, wanted: Collection[str]) -> dict[str, str]:
    """Thumbnails of the wanted products, for those whose image can be shown."""
    pictures: dict[str, str] = {}
    missing = set(wanted)
    names = pa.array(sorted(missing), pa.string())
    for batch in data.product_batches(["product_id", "image"], rows=_IMAGE_ROWS):
        if not missing:
            break
        for row in batch.filter(pc.is_in(batch["product_id"], value_set=names)).to_pylist():
            missing.discard(row["product_id"])
            image = row["image"]
            picture = thumbnail(image["bytes"]) if image and image["bytes"] else None
            if picture:
                pictures[row["product_id"]] = picture
    return pictures
