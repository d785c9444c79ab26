"""The model card and the data card of a release, written from what the run recorded.

Nothing here is measured anew or guessed: what is not on record is called unknown. After Mitchell et
al. 2019 (model cards, arXiv:1810.03993) and Gebru et al. 2018 (datasheets, arXiv:1803.09010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr.config.licences import LicenceSettings
from mmr.markdown import UNKNOWN, cell, document, plain, table
from mmr.release.evidence import GateEvidence

MODEL_CARD, DATA_CARD = "model_card.md", "data_card.md"
_UNSTATED = "unknown: not stated in the settings (`licences.{name}`)"


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model beside its gate.

    Attributes:
        fingerprint: Of its encoder.
        dim: Length of a vector.
        index: `index.json`.
        max_cosine_distance: Between trained and exported query encoder, worst of `parity_queries`.
        parity_queries: How many queries that was measured on.
        git_revision: Of the code.
        settings: All settings of the run.
    """

    fingerprint: str
    dim: int
    index: Mapping[str, Any]
    max_cosine_distance: float
    parity_queries: int
    git_revision: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data.

    Attributes:
        manifest: `dataset.json`.
        revision: DVC's md5.
        queries: Counts by `split, kind`.
        grades: Judgements by grade.
        validation: `validation.json`, where the data was validated.
    """

    manifest: Mapping[str, Any]
    revision: str | None
    queries: Mapping[str, int]
    grades: Mapping[str, int]
    validation: Mapping[str, Any] | None


def model_card(gate: GateEvidence, model: ModelFacts, data: DataFacts) -> str:
    """What the model is, how well it does, on which data, and where that ends."""
    licences = licences_of(model.settings)
    return document(
        "# Model card",
        "A text query encoder and a product encoder that search one shop's catalogue: a query "
        "vector is made of the query alone, a product vector of its text and photograph.",
        *("## What it is", table(("part", "value"), [*_parts(model), _speed(gate)])),
        *("## Decision", _decision(gate)),
        *("## Figures", _figures(gate), "## Slices", _slices(gate)),
        *("## Queries that lose most", _worst_queries(gate)),
        *("## Data", table(("", ""), _data_identity(data))),
        *("## Limits", _model_limits(gate, model, data)),
        "## Licences",
        _licences(licences, ("text_backbone", "vision_backbone", "release", "contact")),
    )


def data_card(data: DataFacts, settings: Mapping[str, Any]) -> str:
    """What the data holds, how it was prepared and checked, and under which licence."""
    manifest = data.manifest
    products = int(manifest["products"])
    without = int(manifest["products_without_image"])
    share = f"{without / products:.1%}" if products else "-"
    contents = [
        ("products", f"{products:,}"),
        ("products without an image", f"{without:,} ({share})"),
        ("queries", f"{manifest['queries']:,}"),
        ("judgements", f"{manifest['judgements']:,}"),
        ("attributes", ", ".join(manifest.get("attributes", [])) or "none"),
    ]
    return document(
        "# Data card",
        *("## Identity", table(("", ""), _data_identity(data))),
        *("## Contents", table(("what", "how much"), contents)),
        *("## Queries", _counts(("split, kind", "queries"), data.queries)),
        *("## Judgements", _counts(("grade", "judgements"), data.grades)),
        *("## Preparation", _preparation(manifest)),
        *("## Validation", _validation(data.validation)),
        *("## Limits", _data_limits(without)),
        *("## Licences", _licences(licences_of(settings), ("data", "queries", "contact"))),
    )


def licences_of(settings: Mapping[str, Any]) -> LicenceSettings:
    """The licences that the settings of a run state."""
    return LicenceSettings.model_validate(settings.get("licences") or {})


def _parts(model: ModelFacts) -> list[tuple[str, object]]:
    settings, index = model.settings, model.index
    towers = settings.get("model", {})
    return [
        ("encoder fingerprint", f"`{model.fingerprint}`"),
        ("dimensions", model.dim),
        ("fusion of text and image", settings.get("fusion", {}).get("kind")),
        ("text backbone", towers.get("text", {}).get("backbone")),
        ("vision backbone", towers.get("vision", {}).get("backbone")),
        ("longest query, tokens", towers.get("text", {}).get("max_query_tokens")),
        ("seed", settings.get("seed")),
        ("index", f"{index.get('kind', UNKNOWN)}, {index.get('rows', 0):,} products"),
        (
            "recall@100 of the index against exact search",
            f"{index.get('recall_at_100', float('nan')):.4f} on {index.get('recall_queries', 0):,} "
            f"vectors of {index.get('recall_source', UNKNOWN)}",
        ),
        (
            "export against trained encoder",
            f"cosine distance at most {model.max_cosine_distance:.1e} "
            f"on {model.parity_queries:,} queries",
        ),
        ("code revision", model.git_revision),
    ]


def _speed(gate: GateEvidence) -> tuple[str, object]:
    serving = gate.record.get("serving")
    return (
        "encoding one query on the machine of the gate, ms",
        serving
        and f"p50 {serving['latency_p50_ms']:.2f}, p99 {serving['latency_p99_ms']:.2f} "
        f"of {serving['latency_queries']:,}",
    )


def _decision(gate: GateEvidence) -> str:
    reasons = gate.record.get("reasons", [])
    against = gate.baseline_name or UNKNOWN
    said = f"The gate decided **{gate.record.get('decision', UNKNOWN)}** against {plain(against)}."
    rows = [
        (reason.get("rule"), "yes" if reason.get("passed") else "**no**", reason.get("detail"))
        for reason in reasons
    ]
    return f"{said}\n\n{table(('rule', 'holds', 'detail'), rows)}" if rows else said


def _figures(gate: GateEvidence) -> str:
    sections = [
        f"Against {plain(str(comparison.get('reference', key)))}:\n\n"
        + _comparison_table(comparison.get("overall", {}), "metric", _confidence(gate))
        for key, comparison in gate.record.get("comparisons", {}).items()
        if key != "baseline"  # the deciding one, under its second name
    ]
    if sections:
        return "\n\n".join(sections)
    means = gate.means("candidate")["overall"]
    return table(("metric", "mean"), [(name, f"{value:.4f}") for name, value in means.items()])


def _slices(gate: GateEvidence) -> str:
    comparison = gate.record.get("comparisons", {}).get("baseline", {})
    if not comparison.get("slices"):
        return "None on record."
    meanings = gate.record.get("slices", {})
    lines = [f"- {plain(name)}: {plain(str(meaning))}" for name, meaning in meanings.items()]
    figures = _comparison_table(comparison["slices"], "slice", _confidence(gate))
    reference = plain(str(comparison.get("reference", UNKNOWN)))
    return f"In {gate.primary_metric}, against {reference}:\n\n{figures}\n\n" + "\n".join(lines)


def _worst_queries(gate: GateEvidence) -> str:
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


def _data_identity(data: DataFacts) -> list[tuple[str, object]]:
    return [
        ("dataset", data.manifest["name"]),
        ("content hash", f"`{data.manifest['content_hash']}`"),
        ("revision (DVC)", data.revision or "not under DVC"),
        ("newest file of the feed", data.manifest.get("as_of")),
    ]


def _model_limits(gate: GateEvidence, model: ModelFacts, data: DataFacts) -> str:
    slices = gate.record.get("comparisons", {}).get("baseline", {}).get("slices", {})
    small = [name for name, part in slices.items() if not part.get("decides", True)]
    lines = [
        "Measured on this shop's validation queries alone; other shops, languages and seasons "
        "were not measured.",
        "The same validation queries chose the training step that was kept, which flatters models "
        "trained here.",
        "A product without a judgement counts as not relevant: the figures depend on how "
        "completely the catalogue was judged.",
        "Queries are taken as independent; paraphrases of one another make intervals too narrow.",
        "Fairness between sellers, brands or groups of customers was not measured.",
    ]
    if small:
        names = ", ".join(plain(name) for name in small)
        lines.append(f"Too few queries to judge these slices: {names}.")
    if int(data.manifest["products_without_image"]):
        lines.append("Products without an image are ranked by their text alone.")
    longest = model.settings.get("model", {}).get("text", {}).get("max_query_tokens")
    if longest:
        lines.append(f"Longer queries are cut to {longest} tokens.")
    return "\n".join(f"- {line}" for line in lines)


def _data_limits(without_image: int) -> str:
    lines = [
        "Where the judgements come from is not on record. Made from clicks, they favour what the "
        "search of that time showed; made from attributes, they are no human opinions.",
        "Whether queries hold personal data was not checked. Remove it before the import.",
        "Texts and photographs are as the feed gave them; nothing was corrected.",
    ]
    if without_image:
        lines.append("Products without an image are kept and form a slice of the evaluation.")
    return "\n".join(f"- {line}" for line in lines)


def _preparation(manifest: Mapping[str, Any]) -> str:
    prepared = manifest.get("prepared")
    if not prepared:
        return "Used as imported."
    rows = [(name, value) for name, value in prepared.items() if not isinstance(value, Mapping)]
    rows += [(f"settings: {name}", value) for name, value in prepared.get("settings", {}).items()]
    return table(("what", "value"), rows)


def _validation(validation: Mapping[str, Any] | None) -> str:
    if validation is None or "passed" not in validation:
        return "No validation on record."
    expectations = validation.get("expectations", [])
    failed = [item for item in expectations if not item.get("success", True)]
    said = (
        f"{'Passed' if validation['passed'] else 'Failed'}: {len(expectations) - len(failed)} of "
        f"{len(expectations)} expectations hold."
    )
    lines = [
        f"- {says} Not met (severity {severity}; observed {observed})."
        for item in failed
        for says, severity, observed in [
            [cell(item.get(name)) for name in ("says", "severity", "observed")]
        ]
    ]
    return "\n".join([said, *([""] if lines else []), *lines])


def _licences(licences: LicenceSettings, names: Sequence[str]) -> str:
    rows = [
        (name.replace("_", " "), getattr(licences, name) or _UNSTATED.format(name=name))
        for name in names
    ]
    return table(("what", "terms"), rows)


def _counts(heads: tuple[str, str], counts: Mapping[str, int]) -> str:
    return table(heads, [(name, f"{count:,}") for name, count in counts.items()])
