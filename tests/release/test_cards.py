"""Cards say what the run recorded, and never more."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mmr.release.card_facts import DataFacts, ModelFacts, RefreshFacts, licences_of
from mmr.release.data_card import data_card
from mmr.release.evidence import GateEvidence
from mmr.release.model_card import model_card
from mmr.release.origin import TrainingOrigin
from tests.sealing import seal_release

PART = {
    "queries": 32,
    "candidate": 0.87,
    "reference": 0.63,
    "gain": 0.24,
    "ci_low": 0.18,
    "ci_high": 0.31,
    "p_value": 0.0001,
    "better": 20,
    "worse": 3,
}
GATE: dict[str, Any] = {
    "decision": "promote",
    "baseline_name": "tuned text-only",
    "primary_metric": "ndcg_at_10",
    "policy": {"confidence": 0.95},
    "reasons": [{"rule": "not worse", "passed": False, "detail": "a | b"}],
    "slices": {"no image": "at least half have no photograph"},
    "serving": {"latency_p50_ms": 3.04, "latency_p99_ms": 9.5, "latency_queries": 200},
    "worst_queries": [{"query": "tall | <b>vase", "reference": 0.9, "candidate": 0.25}],
    "comparisons": {
        side: {
            "reference": "tuned text-only",
            "overall": {"ndcg_at_10": PART},
            "slices": {"no image": {**PART, "decides": False}},
        }
        for side in ("text_only", "baseline")
    },
}
DATA = DataFacts(
    manifest={
        "name": "shop <b>\n| x",
        "content_hash": "d" * 64,
        "products": 200,
        "queries": 40,
        "judgements": 100,
        "products_without_image": 3,
        "attributes": [],
        "prepared": None,
    },
    revision=None,
    queries={"train, visual": 30},
    grades={"1": 60, "2": 40},
    validation=None,
)
MODEL = ModelFacts(
    fingerprint="f" * 64,
    dim=8,
    index={"kind": "flat", "rows": 200, "recall_at_100": 1.0, "recall_queries": 40},
    max_cosine_distance=1e-7,
    parity_queries=40,
    git_revision=None,
    settings={},
)


@pytest.fixture
def gate(tmp_path: Path) -> GateEvidence:
    (tmp_path / "gate.json").write_text(json.dumps(GATE))
    return GateEvidence.read(tmp_path)


def test_figures_come_with_intervals_and_slices(gate: GateEvidence) -> None:
    card = model_card(gate, MODEL, DATA)
    row = "| 32 | 0.8700 | 0.6300 | +0.2400 | +0.1800 to +0.3100 | 0.0001 | 20 / 3 |"
    assert f"| ndcg_at_10 {row}" in card
    assert f"| no image {row}" in card
    assert "95% interval" in card
    assert "| not worse | **no** | a \\| b |" in card
    assert (
        "| encoding one query on the machine of the gate, ms | p50 3.04, p99 9.50 of 200 |" in card
    )
    assert "| tall \\| &lt;b>vase | 0.9000 | 0.2500 |" in card
    assert "| newest file of the feed | unknown |" in card
    assert card.count("Against tuned text-only") == 1  # the deciding comparison is not shown twice


@pytest.mark.parametrize(
    ("left_out", "told"),
    [(None, "unknown"), ([], "none"), (["A (0.5)", "B | C"], "A (0.5); B \\| C")],
)
def test_the_model_card_names_stages_that_were_left_out(
    left_out: list[str] | None, told: str, tmp_path: Path
) -> None:
    known = {} if left_out is None else {"stages_left_out": left_out}
    (tmp_path / "gate.json").write_text(json.dumps({**GATE, **known}))

    card = model_card(GateEvidence.read(tmp_path), MODEL, DATA)

    assert f"| training stages left out | {told} |" in card


def test_a_refreshed_release_names_what_its_encoders_training_left_out(
    gate: GateEvidence, tmp_path: Path
) -> None:
    """A refresh has no training of its own, and its gate no record of one."""
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "gate.json").write_text(json.dumps({**GATE, "stages_left_out": ["A"]}))
    manifest = seal_release(tmp_path / "trained", fingerprint="f" * 64, dim=8)
    training = TrainingOrigin(manifest, GateEvidence.read(tmp_path / "trained"))
    refresh = RefreshFacts(parent="r1", changes={"new": 1}, training=training)

    assert "| training stages left out | A |" in model_card(gate, MODEL, DATA, refresh=refresh)
    kept_nothing = RefreshFacts(parent="r1", changes={}, training=None)
    card = model_card(gate, MODEL, DATA, refresh=kept_nothing)
    assert "| training stages left out | unknown |" in card


def test_limits_name_the_slices_that_were_not_judged(gate: GateEvidence) -> None:
    assert "Too few queries to judge these slices: no image." in model_card(gate, MODEL, DATA)


def test_what_nobody_stated_is_unknown(gate: GateEvidence) -> None:
    card = model_card(gate, MODEL, DATA) + data_card(DATA, {})
    for name in ("data", "queries", "text_backbone", "vision_backbone", "release", "contact"):
        assert f"unknown: not stated in the settings (`licences.{name}`)" in card
    assert "| code revision | unknown |" in card
    assert "| revision (DVC) | not under DVC |" in card


def test_names_of_a_feed_stay_text() -> None:
    assert "| dataset | shop &lt;b> \\| x |" in data_card(DATA, {})


def test_validation_names_what_did_not_hold() -> None:
    said = {"says": "Titles are long enough.", "severity": "warning", "observed": 0.4}
    validation = {
        "passed": True,
        "expectations": [{"success": True}, {"success": False, **said}],
    }
    card = data_card(DataFacts(**{**vars(DATA), "validation": validation}), {})
    assert "Passed: 1 of 2 expectations hold." in card
    assert "- Titles are long enough. Not met (severity warning; observed 0.4)." in card


def test_an_unknown_licence_field_is_an_error() -> None:
    with pytest.raises(ValidationError, match="dataset"):
        licences_of({"licences": {"dataset": "MIT"}})
