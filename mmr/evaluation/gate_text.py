"""The gate's report as Markdown: for reviews, chats and terminals; the HTML has the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmr.evaluation.comparison import SystemComparison
from mmr.evaluation.evaluate import Evaluation
from mmr.evaluation.examples import Example, ShownProduct
from mmr.evaluation.significance import PairedComparison
from mmr.markdown import document, plain, table

_HEADS = ("queries", "candidate", "reference", "gain", "interval", "p", "better / worse")


def render_text(
    evaluation: Evaluation, *, worst: Sequence[Example], facts: Mapping[str, str]
) -> str:
    """Decision, every reason, figures, slices, and the queries that lose most.

    Args:
        evaluation: What was measured and decided.
        worst: The queries that lose most, with the first products of both systems.
        facts: Provenance: dataset, fingerprints, versions.
    """
    deciding, config = evaluation.comparisons[0], evaluation.config
    reference = plain(deciding.reference)
    return document(
        f"# Gate: {evaluation.verdict.decision}",
        f"The candidate against {reference}: {len(evaluation.task.queries):,} validation queries, "
        f"each ranked against all {len(evaluation.task.product_ids):,} products.",
        *("## Rules", _rules(evaluation)),
        *(block for comparison in evaluation.comparisons for block in _figures(comparison)),
        *(f"## Slices, {config.primary_metric}", _slices(deciding)),
        *(f"## Queries that lose most, {config.primary_metric}", _worst(worst, reference)),
        *("## Where this comes from", table(("what", "value"), list(facts.items()))),
    )


def _rules(evaluation: Evaluation) -> str:
    rows = [
        (reason.rule, "yes" if reason.passed else f"**no: {reason.otherwise}**", reason.detail)
        for reason in evaluation.verdict.reasons
    ]
    return table(("rule", "holds", "detail"), rows)


def _figures(comparison: SystemComparison) -> tuple[str, str]:
    rows = [(name, *_cells(found)) for name, found in comparison.overall.items()]
    return f"## All queries, against {plain(comparison.reference)}", table(
        ("metric", *_HEADS), rows
    )


def _slices(comparison: SystemComparison) -> str:
    if not comparison.slices:
        return "No slice has a query."
    rows = [
        (
            part.name,
            *_cells(part.comparison),
            f"{part.margin:g}" if part.decides else "too few queries to decide",
        )
        for part in comparison.slices
    ]
    return table(("slice", *_HEADS, "margin"), rows)


def _worst(worst: Sequence[Example], reference: str) -> str:
    if not worst:
        return "No query loses anything."
    rows = [
        (
            example.gain.query,
            *(f"{example.gain.reference:.4f}", f"{example.gain.candidate:.4f}"),
            f"{example.gain.gain:+.4f}",
            *(_products(example.reference), _products(example.candidate)),
        )
        for example in worst
    ]
    heads = ("query", "before", "after", "change", f"{reference} found", "candidate finds")
    said = "Products of the query's best grade are marked with *."
    return f"{table(heads, rows)}\n\n{said}"


def _products(products: Sequence[ShownProduct]) -> str:
    return ", ".join(
        f"{product.title or product.product_id}{' *' if product.best else ''}"
        for product in products
    )


def _cells(found: PairedComparison) -> tuple[object, ...]:
    return (
        *(found.queries, f"{found.candidate:.4f}", f"{found.reference:.4f}", f"{found.gain:+.4f}"),
        f"{found.ci_low:+.4f} to {found.ci_high:+.4f}",
        *(f"{found.p_value:.4f}", f"{found.better} / {found.worse}"),
    )
