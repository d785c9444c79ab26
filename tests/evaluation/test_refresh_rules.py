"""The rules of a refresh, one by one."""

from dataclasses import replace

import pytest

from mmr.config.refresh import RefreshConfig
from mmr.evaluation.refresh import GoldenAnswers, refresh_reasons, refused
from mmr.evaluation.significance import PairedComparison
from mmr.types import Coverage

COVERAGE = Coverage(products=100, with_text=100, with_image=90)
GOLDEN = GoldenAnswers(queries=16, unchanged=150, max_score_change=1e-7, mean_overlap=0.95)
JUDGED = PairedComparison(
    queries=200,
    candidate=0.7,
    reference=0.705,
    gain=-0.005,
    ci_low=-0.012,
    ci_high=0.002,
    p_value=0.2,
    better=10,
    worse=14,
)


def _broken(**changed: object) -> list[str]:
    given: dict[str, object] = {
        "removed_share": 0.01,
        "coverage": (COVERAGE, COVERAGE),
        "recall": (0.99, 0.985),
        "golden": GOLDEN,
        "judged": JUDGED,
        "config": RefreshConfig(),
    }
    return [reason.rule for reason in refused(refresh_reasons(**{**given, **changed}))]  # type: ignore[arg-type]


def test_a_refresh_that_loses_nothing_breaks_no_rule() -> None:
    assert _broken() == []


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"removed_share": 0.11}, "removed products"),
        ({"coverage": (COVERAGE, replace(COVERAGE, with_text=94))}, "products with text"),
        ({"coverage": (COVERAGE, replace(COVERAGE, with_image=84))}, "products with image"),
        ({"recall": (0.99, 0.96)}, "index recall"),
        ({"golden": replace(GOLDEN, max_score_change=1e-3)}, "unchanged products"),
        ({"golden": replace(GOLDEN, mean_overlap=0.4)}, "golden queries"),
        ({"judged": replace(JUDGED, ci_low=-0.021)}, "judged queries"),
    ],
)
def test_each_loss_breaks_its_own_rule_alone(changed: dict[str, object], rule: str) -> None:
    assert _broken(**changed) == [rule]


def test_shares_are_compared_not_counts() -> None:
    twice = Coverage(products=200, with_text=200, with_image=172)

    assert _broken(coverage=(COVERAGE, twice)) == []


@pytest.mark.parametrize("judged", [None, replace(JUDGED, queries=19, ci_low=-1.0)])
def test_too_few_judged_queries_decide_nothing_and_the_reason_says_so(
    judged: PairedComparison | None,
) -> None:
    assert _broken(judged=judged) == []
    reasons = refresh_reasons(
        removed_share=0,
        coverage=(COVERAGE, COVERAGE),
        recall=(1, 1),
        golden=GOLDEN,
        judged=judged,
        config=RefreshConfig(),
    )
    assert "not judged: " in reasons[-1].detail
