"""Which customers a canary takes: as many as was said, and always the same ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.live.canary import falls_to_candidate
from tests.serving.live.small_trial import a_trial


@given(st.text(max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_wider_share_only_adds(key: str, one: float, other: float) -> None:
    few, many = sorted((one, other))
    if falls_to_candidate(a_trial(canary_share=few), key):
        assert falls_to_candidate(a_trial(canary_share=many), key)
    assert not falls_to_candidate(a_trial(canary_share=0), key)
    assert falls_to_candidate(a_trial(canary_share=1), key)


def test_share_is_that_of_the_keys_and_differs_from_candidate_to_candidate() -> None:
    keys = [f"customer {number}" for number in range(4000)]
    first = {key for key in keys if falls_to_candidate(a_trial(canary_share=0.25), key)}
    other = a_trial(canary_share=0.25, release_id="another")
    second = {key for key in keys if falls_to_candidate(other, key)}

    assert len(first) == pytest.approx(1000, abs=110)  # 4 standard deviations
    assert len(first & second) == pytest.approx(250, abs=75)
