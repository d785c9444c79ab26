import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.live.budget import BudgetWindow
from serving.live.settings import CanaryBudget


def test_errors_in_a_row_end_it_before_there_are_enough_answers() -> None:
    window = BudgetWindow(CanaryBudget(max_errors_in_a_row=3))

    verdicts = [window.add(failed=True, milliseconds=1) for _ in range(3)]

    assert verdicts[:2] == [None, None]
    assert verdicts[2] == "3 answers failed one after the other"


def test_share_of_errors_is_looked_at_from_enough_answers_on() -> None:
    window = BudgetWindow(CanaryBudget(max_error_share=0.1, min_answers=20))

    verdicts = [window.add(failed=number % 5 == 0, milliseconds=1) for number in range(20)]

    assert verdicts[:19] == [None] * 19
    assert str(verdicts[19]).startswith("4 of the last 20 answers failed")


def test_slow_answers_end_it_though_none_fails() -> None:
    window = BudgetWindow(CanaryBudget(max_p95_ms=50, min_answers=20))
    for _ in range(18):
        assert window.add(failed=False, milliseconds=5) is None
    assert window.add(failed=False, milliseconds=60) is None

    assert "95th percentile of the last 20 answers is 60.0 ms" in str(
        window.add(failed=False, milliseconds=60)
    )


def test_old_answers_leave_the_window() -> None:
    window = BudgetWindow(CanaryBudget(window=20, min_answers=20, max_error_share=0.05))
    window.add(failed=True, milliseconds=1)
    window.add(failed=False, milliseconds=1)
    for _ in range(30):
        window.add(failed=False, milliseconds=1)

    assert window.add(failed=True, milliseconds=1) is None  # one of twenty, not two of 33


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=80))
def test_verdict_is_that_of_a_plain_count(answers: list[tuple[bool, float]]) -> None:
    budget = CanaryBudget(window=30, min_answers=10, max_errors_in_a_row=4, max_error_share=0.3)
    window = BudgetWindow(budget)
    seen: list[tuple[bool, float]] = []
    for failed, milliseconds in answers:
        seen.append((failed, milliseconds))
        last = seen[-30:]
        slow = sum(ms > 250 for _, ms in last)
        expected = (
            (len(seen) >= 4 and all(bad for bad, _ in seen[-4:]))
            or (len(last) >= 10 and sum(bad for bad, _ in last) / len(last) > 0.3)
            # the value below which 95 % lie, rounded up to a whole answer
            or (len(last) >= 10 and len(last) - slow < 0.95 * len(last) - 1e-9)
        )
        verdict = window.add(failed=failed, milliseconds=milliseconds)
        assert (verdict is not None) == expected


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="max_error_share"):
        CanaryBudget(max_error_share=share)
