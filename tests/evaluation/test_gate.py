"""The gate's decisions: every rule passes, fails, and says why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import SliceComparison, SystemComparison
from mmr.evaluation.gate import Verdict, decide
from mmr.evaluation.measured import DataAge, Measured, ServingFigures
from mmr.evaluation.reason import Reason
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
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVING = ServingFigures(
    index_recall=0.98,
    index_queries=100,
    parity_distance=1e-6,
    parity_changed=0,
    parity_queries=100,
    latency_p50_ms=4.0,
    latency_p99_ms=9.0,
    latency_queries=200,
)
MONTH_OLD = DataAge.at(NOW, newest=NOW - timedelta(days=30), of="the newest file of the feed")
UNKNOWN_AGE = DataAge.at(NOW, newest=None, of="the age is unknown")


def gate(
    overall: PairedComparison,
    *,
    slices: list[SliceComparison] | None = None,
    same_encoder: bool = False,
    ndcg: float = 0.55,
    recall: PairedComparison = BETTER,
    gains: list[float] | None = None,
    serving: ServingFigures = SERVING,
    age: DataAge = MONTH_OLD,
    **policy: object,
) -> Verdict:
    overalls = {"ndcg_at_10": overall, "recall_at_100": recall}
    return decide(
        SystemComparison("champion abc", overalls, slices or []),
        metrics={"ndcg_at_10": ndcg},
        gains=gains or [0.1, -0.2],
        same_encoder=same_encoder,
        measured=Measured(serving, age),
        config=GateConfig.model_validate(policy),
    )


def part(harm_p: float | None, proof_p: float | None = 0.001) -> SliceComparison:
    decides = harm_p is not None
    return SliceComparison(
        "cold start",
        WORSE,
        margin=0.02,
        decides=decides,
        harm_p=harm_p,
        proof_p=proof_p if decides else None,
    )


def reason(verdict: Verdict, rule: str) -> Reason:
    (found,) = (reason for reason in verdict.reasons if reason.rule == rule)
    return found


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
        "regressions",
        "index recall",
        "export parity",
        "latency p50",
        "latency p99",
        "fresh data",
    ]
    assert not reasons["interval above zero"].passed
    assert "[-0.0100, +0.0300]" in reasons["interval above zero"].detail
    assert "fewer than 20" in reasons["slice cold start"].detail


def test_an_unchanged_encoder_is_named_as_the_reason_to_hold() -> None:
    verdict = gate(UNCLEAR, same_encoder=True)
    assert not verdict.reasons[0].passed
    assert "the encoder is that of champion abc" in verdict.reasons[0].detail


# rule, what makes it pass, what makes it fail, the decision then, what the reason says
RULES = [
    (
        "minimum effect recall_at_100",
        {"further_effects": {"recall_at_100": 0.05}},
        {"further_effects": {"recall_at_100": 0.06}},
        "hold",
        "recall_at_100 against champion abc: gain +0.0500, at least +0.0600 wanted",
    ),
    (
        "interval above zero recall_at_100",
        {"further_effects": {"recall_at_100": 0.0}},
        {"further_effects": {"recall_at_100": 0.0}, "recall": UNCLEAR},
        "hold",
        "95% interval [-0.0100, +0.0300] of 100 queries",
    ),
    (
        "significance recall_at_100",
        {"further_effects": {"recall_at_100": 0.0}},
        {"further_effects": {"recall_at_100": 0.0}, "recall": UNCLEAR},
        "hold",
        "p = 0.4000, below 0.05 with a gain wanted",
    ),
    (
        "floor ndcg_at_10",
        {"floors": {"ndcg_at_10": 0.55}},
        {"floors": {"ndcg_at_10": 0.551}},
        "reject",
        "ndcg_at_10 is 0.5500, the floor 0.5510",
    ),
    (
        "slice cold start",
        {"slices": [part(0.05)]},
        {"slices": [part(0.049)]},
        "reject",
        "a loss beyond 0.02 is shown (Holm-adjusted p = 0.0490)",
    ),
    (
        "slice cold start proven",
        {"slices": [part(0.9, 0.049)], "prove_slices": True},
        {"slices": [part(0.9, 0.05)], "prove_slices": True},
        "hold",
        "that the loss is below 0.02 is not proven (Holm-adjusted p = 0.0500)",
    ),
    (
        "slice cold start",
        {"slices": [part(0.9)], "slice_margins": {"cold start": 0.1}},
        {"slice_margins": {"cold start": 0.1}},
        "hold",
        "slice_margins names it, but the evaluation has no such slice: it has none",
    ),
    (
        "regressions",
        {"gains": [-0.6, -0.5, 0.2], "max_regressions": 1},
        {"gains": [-0.6, -0.51, 0.2], "max_regressions": 1},
        "hold",
        "2 of 3 queries lose more than 0.5 ndcg_at_10, 1 may",
    ),
    (
        "index recall",
        {"min_index_recall": 0.98},
        {"min_index_recall": 0.981},
        "reject",
        "recall@100 against exact search is 0.9800 on 100 queries, at least 0.981 wanted",
    ),
    (
        "export parity",
        {"serving": replace(SERVING, parity_distance=1e-4)},
        {"serving": replace(SERVING, parity_distance=1.1e-4)},
        "reject",
        "at most 1.1e-04 (cosine) from the trained one, 1.0e-04 allowed",
    ),
    (
        "export parity",
        {},
        {"serving": replace(SERVING, parity_changed=3)},
        "reject",
        "finds other products for 3 of 100 queries, 0 allowed",
    ),
    (
        "latency p50",
        {"max_latency_p50_ms": 4},
        {"max_latency_p50_ms": 3.9},
        "hold",
        "takes 4.00 ms (p50 of 200), the budget is 3.9 ms",
    ),
    (
        "latency p99",
        {"max_latency_p99_ms": 9},
        {"max_latency_p99_ms": 8.9},
        "hold",
        "takes 9.00 ms (p99 of 200), the budget is 8.9 ms",
    ),
    (
        "fresh data",
        {"max_data_age_days": 30},
        {"max_data_age_days": 29.9},
        "hold",
        "the newest file of the feed is from 2026-05-02 00:00 UTC, 30.0 days ago; at most 29.9",
    ),
    (
        "fresh data",
        {"age": UNKNOWN_AGE},
        {"age": UNKNOWN_AGE, "max_data_age_days": 365},
        "hold",
        "the age is unknown; at most 365 days wanted",
    ),
]


@pytest.mark.parametrize(("rule", "passes", "fails", "then", "said"), RULES)
def test_a_rule_alone_decides_against_a_candidate_that_is_better(
    rule: str, passes: dict, fails: dict, then: str, said: str
) -> None:
    good, bad = gate(BETTER, **passes), gate(BETTER, **fails)

    assert good.decision == "promote"
    assert reason(good, rule).passed
    assert bad.decision == then
    assert not reason(bad, rule).passed
    assert reason(bad, rule).otherwise == then
    assert said in reason(bad, rule).detail


def test_without_a_number_a_rule_tells_and_decides_nothing() -> None:
    verdict = gate(BETTER, gains=[-1.0] * 50, serving=replace(SERVING, latency_p99_ms=900))
    assert verdict.decision == "promote"
    assert "any number may" in reason(verdict, "regressions").detail
    assert "no budget is set" in reason(verdict, "latency p99").detail
    assert "no limit is set" in reason(verdict, "fresh data").detail


def test_one_shown_harm_outweighs_all_that_only_holds() -> None:
    serving = replace(SERVING, index_recall=0.5, latency_p50_ms=99)
    verdict = gate(UNCLEAR, serving=serving, max_latency_p50_ms=1, max_data_age_days=1)
    assert verdict.decision == "reject"
    assert {r.rule for r in verdict.reasons if not r.passed} == {
        *("interval above zero", "significance", "index recall", "latency p50", "fresh data")
    }
