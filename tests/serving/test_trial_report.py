from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serving.trial_report import canary_figures, shadow_figures


def compared(query: str, overlap: float, **other: Any) -> dict[str, Any]:
    return {
        "query": query,
        "overlap": overlap,
        "same_first": overlap == 1,
        "score_shift": 0.1,
        "live_ms": 2.0,
        "candidate_ms": 4.0,
        "error": None,
    } | other


def test_shadow_figures_leave_failures_out_and_name_the_most_different_queries() -> None:
    records = [
        compared("same", 1.0),
        compared("half", 0.5, score_shift=-0.3),
        compared("none", 0.0),
        compared("none", 0.0),
        {**compared("failed", 0.0), "overlap": None, "error": "gone"},
    ]

    figures = shadow_figures(records)

    assert (figures.compared, figures.failed) == (4, 1)
    assert figures.mean_overlap == 0.375
    assert figures.same_first == 0.25
    assert figures.mean_score_shift is not None
    assert abs(figures.mean_score_shift) < 1e-9
    assert figures.most_different == ("none", "half", "same")


def test_hashed_queries_are_named_by_their_hash() -> None:
    record = compared("x", 0.5)
    record["query_hash"] = record.pop("query")
    assert shadow_figures([record]).most_different == ("x",)


def test_nothing_seen_has_no_figures() -> None:
    assert shadow_figures([]).mean_overlap is None
    assert canary_figures([]).p95_ms is None


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_percentiles_are_values_that_so_many_do_not_exceed(milliseconds: list[float]) -> None:
    figures = canary_figures([{"latency_ms": ms, "error": None} for ms in milliseconds])

    for share, value in ((0.5, figures.p50_ms), (0.95, figures.p95_ms)):
        assert value in milliseconds
        assert sum(ms <= value for ms in milliseconds) >= share * len(milliseconds) - 1e-9
        assert sum(ms < value for ms in milliseconds) < share * len(milliseconds)
