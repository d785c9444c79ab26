"""The model card of a release, after Mitchell et al. 2019 (arXiv:1810.03993)."""

from __future__ import annotations

from mmr.markdown import UNKNOWN, document, plain, table
from mmr.release.card_facts import (
    DataFacts,
    ModelFacts,
    RefreshFacts,
    data_identity,
    licences,
    licences_of,
    refreshed,
)
from mmr.release.card_figures import decision, figures, slices, worst_queries
from mmr.release.evidence import GateEvidence

MODEL_CARD = "model_card.md"


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
    stated = licences_of(model.settings)
    trained = gate if refresh is None or refresh.training is None else refresh.training.evidence
    return document(
        "# Model card",
        "A text query encoder and a product encoder that search one shop's catalogue: a query "
        "vector is made of the query alone, a product vector of its text and photograph.",
        *(
            "## What it is",
            table(("part", "value"), [*_parts(model), _left_out(trained), _speed(gate)]),
        ),
        *(() if refresh is None else ("## Refreshed, not trained", refreshed(refresh))),
        *("## Decision", decision(gate)),
        *("## Figures", figures(gate), "## Slices", slices(gate)),
        *("## Queries that lose most", worst_queries(gate)),
        *(() if refresh is None else _training(refresh)),
        *("## Data", table(("", ""), data_identity(data))),
        *("## Limits", _model_limits(gate, model, data)),
        "## Licences",
        licences(stated, ("text_backbone", "vision_backbone", "release", "contact")),
    )


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


def _left_out(trained: GateEvidence) -> tuple[str, object]:
    stages = trained.record.get("stages_left_out")
    return "training stages left out", stages if stages is None else "; ".join(stages) or "none"


def _speed(gate: GateEvidence) -> tuple[str, object]:
    serving = gate.record.get("serving")
    return (
        "encoding one query on the machine of the gate, ms",
        serving
        and f"p50 {serving['latency_p50_ms']:.2f}, p99 {serving['latency_p99_ms']:.2f} "
        f"of {serving['latency_queries']:,}",
    )


def _model_limits(gate: GateEvidence, model: ModelFacts, data: DataFacts) -> str:
    slices = gate.record.get("comparisons", {}).get("baseline", {}).get("slices", {})
    small = [name for name, part in slices.items() if not part.get("decides", True)]
    lines = [
        "Measured on this shop's validation queries alone; other shops, languages and seasons "
        "were not measured.",
        "The same validation queries chose the training steps and stages that were kept, which "
        "flatters models trained here.",
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
