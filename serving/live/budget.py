"""When a canary has cost too much."""

from __future__ import annotations

import math
import threading
from collections import deque

from serving.live.settings import CanaryBudget


class BudgetWindow:
    """The last answers of a candidate, and whether they are still within its budget.

    Args:
        budget: What is accepted.
    """

    def __init__(self, budget: CanaryBudget) -> None:
        self._budget = budget
        self._answers: deque[tuple[bool, float]] = deque(maxlen=budget.window)
        self._errors_in_a_row = 0
        self._lock = threading.Lock()

    def add(self, *, failed: bool, milliseconds: float) -> str | None:
        """Counts one answer; the measure that is broken now, if one is, with value and limit."""
        with self._lock:
            self._answers.append((failed, milliseconds))
            self._errors_in_a_row = self._errors_in_a_row + 1 if failed else 0
            return self._broken()

    def _broken(self) -> str | None:
        budget, answers = self._budget, len(self._answers)
        if self._errors_in_a_row >= budget.max_errors_in_a_row:
            return f"{self._errors_in_a_row} answers failed one after the other"
        if answers < min(budget.min_answers, budget.window):
            return None
        failed = sum(failure for failure, _ in self._answers)
        if failed / answers > budget.max_error_share:
            return (
                f"{failed} of the last {answers} answers failed; accepted is a share of "
                f"{budget.max_error_share:g}"
            )
        slowest = sorted(milliseconds for _, milliseconds in self._answers)
        p95 = slowest[math.ceil(0.95 * answers) - 1]
        if p95 > budget.max_p95_ms:
            return (
                f"the 95th percentile of the last {answers} answers is {p95:.1f} ms; accepted are "
                f"{budget.max_p95_ms:g} ms"
            )
        return None
