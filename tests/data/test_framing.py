"""The frame of a vision network loses the margins that a shop's photographs would have in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmr.data.framing import Framing, trimmed_size

sides = st.integers(1, 3000)
shapes = st.lists(st.tuples(sides, sides), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("photographs", "expected"),
    [
        ([(80, 60)] * 9, (80, 60)),
        ([(800, 600)] * 97 + [(600, 800)] * 3, (80, 60)),  # a few may be fitted in smaller
        ([(60, 80)] * 9, (60, 80)),
        ([(80, 53)] * 9, (80, 56)),  # sides stay multiples of the step
        ([(80, 60), (60, 80)] * 9, (80, 80)),
        ([(224, 224)] * 9, (80, 80)),
        ([], (80, 80)),
    ],
)
def test_the_frame_takes_the_shape_that_nearly_all_photographs_have(
    photographs: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert trimmed_size(photographs, height=80, width=80, step=4) == expected


@given(shapes, st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 4, 16]))
def test_nearly_all_photographs_are_shown_as_large_as_in_the_whole_frame(
    photographs: list[tuple[int, int]], rows: int, columns: int, step: int
) -> None:
    height, width = rows * step, columns * step

    trimmed = trimmed_size(photographs, height=height, width=width, step=step)

    assert trimmed[0] <= height
    assert trimmed[1] <= width
    assert trimmed[0] % step == trimmed[1] % step == 0
    assert trimmed[0] > 0 < trimmed[1]
    whole = np.array([min(height / h, width / w) for h, w in photographs])
    shown = np.array([min(trimmed[0] / h, trimmed[1] / w) for h, w in photographs])
    assert (shown < whole * (1 - 1e-6)).sum() <= 2 * 0.05 * len(photographs)


def test_trimming_takes_away_margins_and_nothing_of_the_photograph() -> None:
    random = np.random.default_rng(0)
    photograph = Image.fromarray(random.integers(0, 256, (80, 60, 3), dtype=np.uint8))
    height, width = trimmed_size([(80, 60)], height=80, width=80, step=4)

    whole = np.asarray(Framing().apply(photograph, height=80, width=80))
    trimmed = np.asarray(Framing().apply(photograph, height=height, width=width))

    assert (trimmed == whole[:, 10:70]).all()
    assert (whole[:, :10] == 255).all()
    assert (whole[:, 70:] == 255).all()
