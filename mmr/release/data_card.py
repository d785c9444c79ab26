"""The data card of a release, after Gebru et al. 2018 (datasheets, arXiv:1803.09010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmr.markdown import cell, document, table
from mmr.release.card_facts import (
    DataFacts,
    RefreshFacts,
    data_identity,
    licences,
    licences_of,
    refreshed,
)

DATA_CARD = "data_card.md"


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
        *("## Identity", table(("", ""), data_identity(data))),
        *(() if refresh is None else ("## Refreshed, not trained on", refreshed(refresh))),
        *("## Contents", table(("what", "how much"), contents)),
        *("## Queries", _counts(("split, kind", "queries"), data.queries)),
        *("## Judgements", _counts(("grade", "judgements"), data.grades)),
        *("## Preparation", _preparation(manifest)),
        *("## Validation", _validation(data.validation)),
        *("## Limits", _data_limits(without)),
        *("## Licences", licences(licences_of(settings), ("data", "queries", "contact"))),
    )


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


def _counts(heads: tuple[str, str], counts: Mapping[str, int]) -> str:
    return table(heads, [(name, f"{count:,}") for name, count in counts.items()])
