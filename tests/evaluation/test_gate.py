"""The gate's decisions, as a table."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import SliceComparison, SystemComparison
from mmr.evaluation.gate import Verdict, decide
from mmr.evaluation.significance import PairedComparison

BETTER = PairedComparison(
    queries=100,
    candidate=0.55,
    reference=0.5,
    gain=0.05,
    ci_low=0.02,
    ci_high=0.08,
    p_value=0.001,
    better=60,
    worse=20,
)
UNCLEAR = replace(BETTER, gain=0.01, ci_low=-0.01, ci_high=0.03, p_value=0.4)
WORSE = replace(BETTER, gain=-0.05, ci_low=-0.08, ci_high=-0.02)
UNCLEAR_LOSS = replace(UNCLEAR, gain=-0.01)


def gate(
    overall: PairedComparison,
    *,
    slices: list[SliceComparison] | None = None,
    same_encoder: bool = False,
    ndcg: float = 0.55,
    **policy: object,
) -> Verdict:
    comparison = SystemComparison("champion abc", {"ndcg_at_10": overall}, slices or [])
    return decide(
        comparison,
        metrics={"ndcg_at_10": ndcg},
        same_encoder=same_encoder,
        config=GateConfig.model_validate(policy),
    )


def part(harm_p: float | None) -> SliceComparison:
    return SliceComparison("cold start", WORSE, decides=harm_p is not None, harm_p=harm_p)


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        ("promote", lambda: gate(BETTER)),
        ("hold", lambda: gate(UNCLEAR)),
        ("hold", lambda: gate(UNCLEAR_LOSS)),
        ("reject", lambda: gate(WORSE)),
        ("hold", lambda: gate(BETTER, min_effect=0.06)),
        ("promote", lambda: gate(BETTER, min_effect=0.05)),
        ("hold", lambda: gate(replace(BETTER, ci_low=-0.001))),
        ("hold", lambda: gate(replace(BETTER, p_value=0.06))),
        ("reject", lambda: gate(BETTER, floors={"ndcg_at_10": 0.6})),
        ("promote", lambda: gate(BETTER, floors={"ndcg_at_10": 0.55})),
        ("reject", lambda: gate(BETTER, slices=[part(0.01)])),
        ("reject", lambda: gate(UNCLEAR, slices=[part(0.01)])),
        ("promote", lambda: gate(BETTER, slices=[part(0.2)])),
        ("promote", lambda: gate(BETTER, slices=[part(None)])),
        ("hold", lambda: gate(BETTER, same_encoder=True)),
        ("reject", lambda: gate(UNCLEAR, same_encoder=True, floors={"ndcg_at_10": 0.9})),
    ],
)
def test_the_policy_decides(expected: str, verdict) -> None:
    assert verdict().decision == expected


def test_every_rule_becomes_a_reason_with_its_values() -> None:
    verdict = gate(UNCLEAR, slices=[part(0.2), part(None)], floors={"ndcg_at_10": 0.5})
    reasons = {reason.rule: reason for reason in verdict.reasons}
    assert [reason.rule for reason in verdict.reasons] == [
        "new encoder",
        "minimum effect",
        "interval above zero",
        "significance",
        "not worse",
        "floor ndcg_at_10",
        "slice cold start",
        "slice cold start",
    ]
    assert not reasons["interval above zero"].passed
    assert "[-0.0100, +0.0300]" in reasons["interval above zero"].detail
    assert "fewer than 20" in reasons["slice cold start"].detail


def test_an_unchanged_encoder_is_named_as_the_reason_to_hold() -> None:
    verdict = gate(UNCLEAR, same_encoder=True)
    assert not verdict.reasons[0].passed
    assert "the encoder is that of champion abc" in verdict.reasons[0].detail


@pytest.mark.parametrize(
    "policy",
    [{"primary_metric": "map"}, {"floors": {"map": 0.1}}, {"max_p": 0}, {"margin": 0.1}],
)
def test_a_wrong_policy_is_refused_before_any_work(policy: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateConfig.model_validate(policy)


def test_the_policy_survives_json() -> None:
    config = GateConfig(floors={"recall_at_10": 0.4})
    assert GateConfig.model_validate_json(config.model_dump_json()) == config
