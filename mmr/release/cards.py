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
from mmr.release.card_figures import decision, figures, slices, worst_queries
from mmr.release.evidence import GateEvidence
from mmr.release.origin import TrainingOrigin

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


@dataclass(frozen=True)
class RefreshFacts:
    """What is known of a release that took a newer catalogue in and was not trained.

    Attributes:
        parent: The release that was refreshed.
        changes: `changes.json`.
        training: Of its encoder; None where the parent kept nothing of it.
    """

    parent: str
    changes: Mapping[str, Any]
    training: TrainingOrigin | None


def model_card(
    gate: GateEvidence, model: ModelFacts, data: DataFacts, *, refresh: RefreshFacts | None = None
) -> str:
    """What the model is, how well it does, on which data, and where that ends.

    Args:
        gate: What was decided of the release.
        model: What is known beside that.
        data: What it serves, and was trained on unless it was refreshed.
        refresh: Where its encoder comes from; None for a trained one.
    """
    licences = licences_of(model.settings)
    return document(
        "# Model card",
        "A text query encoder and a product encoder that search one shop's catalogue: a query "
        "vector is made of the query alone, a product vector of its text and photograph.",
        *("## What it is", table(("part", "value"), [*_parts(model), *_measured(gate)])),
        *(() if refresh is None else ("## Refreshed, not trained", _refreshed(refresh))),
        *("## Decision", decision(gate)),
        *("## Figures", figures(gate), "## Slices", slices(gate)),
        *("## Queries that lose most", worst_queries(gate)),
        *(() if refresh is None else _training(refresh)),
        *("## Data", table(("", ""), _data_identity(data))),
        *("## Limits", _model_limits(gate, model, data)),
        "## Licences",
        _licences(licences, ("text_backbone", "vision_backbone", "release", "contact")),
    )


def data_card(
    data: DataFacts, settings: Mapping[str, Any], *, refresh: RefreshFacts | None = None
) -> str:
    """What the data holds, how it was prepared and checked, and under which licence.

    Args:
        data: What is known of it.
        settings: All settings of the run.
        refresh: Where the encoder comes from that did not learn from this data.
    """
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
        *(() if refresh is None else ("## Refreshed, not trained on", _refreshed(refresh))),
        *("## Contents", table(("what", "how much"), contents)),
        *("## Queries", _counts(("split, kind", "queries"), data.queries)),
        *("## Judgements", _counts(("grade", "judgements"), data.grades)),
        *("## Preparation", _preparation(manifest)),
        *("## Validation", _validation(data.validation)),
        *("## Limits", _data_limits(without)),
        *("## Licences", _licences(licences_of(settings), ("data", "queries", "contact"))),
    )


def _refreshed(refresh: RefreshFacts) -> str:
    training, changes = refresh.training, refresh.changes
    origin = training.manifest if training else None
    rows = [
        ("catalogue before", f"release `{refresh.parent}`"),
        *((f"products {name}", changes.get(name)) for name in ("new", "changed", "removed")),
        ("vectors taken over", changes.get("reused")),
        ("encoder trained for", origin and f"release `{origin.release_id}`, {origin.created_at}"),
        ("on the dataset", origin and f"`{origin.dataset_hash}`"),
        ("its revision (DVC)", origin and (origin.dataset_revision or "not under DVC")),
        ("by code revision", origin and origin.git_revision),
    ]
    said = (
        "Nothing was trained for this release: it serves a newer catalogue with the encoder of the "
        "release before."
    )
    return f"{said}\n\n{table(('what', 'value'), rows)}"


def _training(refresh: RefreshFacts) -> tuple[str, ...]:
    if refresh.training is None:
        return ("## Training of the encoder", f"{UNKNOWN}: release {refresh.parent} kept nothing.")
    gate = refresh.training.evidence
    return (
        *("## Training of the encoder", "On the data of that time; `training/` has its cards."),
        *("### Decision of the training", decision(gate)),
        *("### Figures of the training", figures(gate)),
        *("### Slices of the training", slices(gate)),
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


def _measured(gate: GateEvidence) -> list[tuple[str, object]]:
    left_out, serving = gate.record.get("stages_left_out"), gate.record.get("serving")
    return [
        (
            "training stages left out",
            left_out if left_out is None else "; ".join(left_out) or "none",
        ),
        (
            "encoding one query on the machine of the gate, ms",
            serving
            and f"p50 {serving['latency_p50_ms']:.2f}, p99 {serving['latency_p99_ms']:.2f} "
            f"of {serving['latency_queries']:,}",
        ),
    ]


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
