"""The gate's report for people: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from mmr.evaluation import charts
from mmr.evaluation.evaluate import Evaluation
from mmr.evaluation.examples import (
    QueryGain,
    build_example,
    top_product_ids,
    wins_and_losses,
)
from mmr.evaluation.modalities import ModalityReport

_TEMPLATES = Path(__file__).parent / "templates"
_LISTED_QUERIES = 10
METRIC_TITLES = {
    "recall_at_10": "Recall@10",
    "recall_at_100": "Recall@100",
    "ndcg_at_10": "NDCG@10",
    "mrr_at_10": "MRR@10",
}


@dataclass(frozen=True)
class ReportPlan:
    """The queries that a report shows; known before any picture is read."""

    wins: list[QueryGain]
    losses: list[QueryGain]
    product_ids: list[str]


def plan_report(evaluation: Evaluation) -> ReportPlan:
    """Chooses the queries with pictures and says which products' pictures are needed."""
    task, candidate, reference = evaluation.task, evaluation.candidate, evaluation.references[0]
    wins, losses = wins_and_losses(evaluation.gains, evaluation.config.report_examples)
    needed = {
        product_id: None
        for gain in (*wins, *losses)
        for system in (reference, candidate)
        for product_id in top_product_ids(task, system, gain.row)
    }
    return ReportPlan(wins, losses, list(needed))


def render_report(
    evaluation: Evaluation,
    plan: ReportPlan,
    *,
    titles: Mapping[str, str],
    pictures: Mapping[str, str],
    facts: Mapping[str, str],
    modalities: ModalityReport,
) -> str:
    """Renders the report.

    Args:
        evaluation: What was measured and decided.
        plan: Of `plan_report`.
        titles: Title by product id, at least of `plan.product_ids`.
        pictures: `data:` URI by product id, where there is a picture.
        facts: Provenance for the footer: dataset, fingerprints, versions.
        modalities: What text and image are worth to the candidate.
    """
    examples = {
        name: [
            build_example(
                gain,
                evaluation.task,
                candidate=evaluation.candidate,
                reference=evaluation.references[0],
                titles=titles,
                pictures=pictures,
                scores=modalities.scores,
            )
            for gain in gains
        ]
        for name, gains in {"Wins": plan.wins, "Losses": plan.losses}.items()
    }
    template = _environment().get_template("report.html.j2")
    return template.render(
        **_figures(evaluation), examples=examples, facts=facts, modalities=modalities.summary
    )


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """What the template says of the measurement, by the names that it uses."""
    wins, _ = wins_and_losses(evaluation.gains, _LISTED_QUERIES)
    deciding = evaluation.comparisons[0]
    parts = [part.comparison for part in deciding.slices]
    return {
        "verdict": evaluation.verdict,
        "config": evaluation.config,
        "metrics": METRIC_TITLES,
        "primary": evaluation.config.primary_metric,
        "systems": [*reversed(evaluation.references), evaluation.candidate],
        "comparisons": evaluation.comparisons,
        "deciding": deciding,
        "meanings": {part.name: part.meaning for part in evaluation.slices},
        "slices": list(zip(deciding.slices, charts.whiskers(parts), strict=True)),
        "chart": charts.gain_chart([gain.gain for gain in evaluation.gains]),
        "chart_size": (charts.WIDTH, charts.HEIGHT),
        "tables": {"Largest gains": wins, "Largest losses": evaluation.worst},
        "catalogue": len(evaluation.task.product_ids),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,  # titles and queries come from the feed: never trusted
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = lambda number: f"{number:.3f}"
    environment.filters["percent"] = lambda number: f"{100 * number:.0f}"
    environment.filters["signed"] = lambda number: f"{number:+.3f}"
    return environment
