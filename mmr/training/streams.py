"""Random numbers that depend on the seed, their use and the step alone.

Uses draw from streams of their own: switching one technique on changes nothing else, and a resumed
run draws what it would have drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the numbers are for."""

    ORDER = 0
    BATCH = 1
    HARD_NEGATIVES = 2
    MINING_POOL = 3
    SIBLINGS = 4
    WORDINGS = 5
    DRAWN_WORDINGS = 6
    TEACHER = 7
    CATEGORIES = 8
    FOLDS = 9
    TITLES = 10
    ASKED = 11


def random_stream(seed: int, stream: Stream, step: int) -> np.random.Generator:
    """The generator of one use at one step (or epoch, or row)."""
    return np.random.default_rng([seed, int(stream), step])
