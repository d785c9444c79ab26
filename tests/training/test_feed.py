import threading
import time

import pytest

from mmr.training.feed import AHEAD, BatchFeed


def test_every_step_gets_its_own_batch_and_none_beyond_the_end_is_made() -> None:
    made: list[int] = []

    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))  # threads finish out of order
        made.append(step)
        return step * step

    with BatchFeed(make, end=9) as feed:
        assert [feed.take(step) for step in range(4, 9)] == [16, 25, 36, 49, 64]

    assert sorted(made) == [4, 5, 6, 7, 8]


def test_coming_batches_are_made_while_a_step_computes() -> None:
    made = [threading.Event() for _ in range(1 + AHEAD)]

    def make(step: int) -> int:
        made[step].set()
        return step

    with BatchFeed(make, end=1 + AHEAD) as feed:
        feed.take(0)
        # the step computes here: nobody asks for a batch
        assert all(event.wait(timeout=30) for event in made)
        waited = feed.waited_s
        feed.take(1)
        assert feed.waited_s - waited < 10


def test_waiting_is_counted_and_computing_is_not() -> None:
    def make(step: int) -> int:
        time.sleep(0.2 if step == 0 else 0.0)
        return step

    with BatchFeed(make, end=2) as feed:
        feed.take(0)
        slow = feed.waited_s
        time.sleep(0.2)
        feed.take(1)

    assert slow >= 0.2
    assert feed.waited_s - slow < 0.1


def test_an_error_in_making_a_batch_reaches_the_step_that_needs_it() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise OSError("the disk is gone")
        return step

    with BatchFeed(make, end=3) as feed:
        assert feed.take(0) == 0
        with pytest.raises(OSError, match="the disk is gone"):
            feed.take(1)


def test_the_threads_end_with_the_block() -> None:
    before = threading.active_count()
    with BatchFeed(lambda step: step, end=100) as feed:
        feed.take(0)

    assert threading.active_count() == before
