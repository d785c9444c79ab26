"""A small shop has fewer steps, and its untaught image network learns more slowly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.model import VisionSettings
from mmr.config.run import load_settings
from mmr.config.training import LoopSettings
from mmr.stages.image_towers import encoder_rate


@given(
    rows=st.integers(1, 10**6),
    batch=st.integers(1, 4096),
    steps=st.integers(1, 2000),
    every=st.integers(1, 200),
    passes=st.floats(0.1, 100),
)
def test_passes_end_a_stage_early_and_keep_the_number_of_validations(
    rows: int, batch: int, steps: int, every: int, passes: float
) -> None:
    loop = LoopSettings(steps=steps, passes=passes, validate_every=every)

    small = loop.for_rows(rows, batch=batch)

    assert small.steps <= steps
    assert (small.steps - 1) * batch < passes * rows  # the last step alone may go past it
    if small.steps < steps:
        assert small.steps * batch >= passes * rows
    else:
        assert small == loop
    assert 1 <= small.validate_every <= every
    assert small.validate_every == max(1, round(every * small.steps / steps))


@pytest.mark.parametrize("loop", [LoopSettings(passes=0), LoopSettings(steps=0, passes=3)])
def test_without_a_limit_or_steps_the_loop_stays_as_it_is(loop: LoopSettings) -> None:
    assert loop.for_rows(1, batch=1000) is loop


def test_a_random_backbone_learns_in_proportion_to_the_photographs_up_to_its_full_rate() -> None:
    vision = VisionSettings(full_rate_from=40_000)
    rates = [
        encoder_rate(vision, pretrained=3e-5, random=2e-3, photographs=count)
        for count in (2_000, 4_000, 40_000, 400_000)
    ]

    assert rates == pytest.approx([1e-4, 2e-4, 2e-3, 2e-3])
    always = VisionSettings(full_rate_from=0)
    assert encoder_rate(always, pretrained=3e-5, random=2e-3, photographs=10) == 2e-3


def test_a_pretrained_backbone_keeps_its_rate_however_small_the_shop_is() -> None:
    vision = VisionSettings(backbone="some/checkpoint", full_rate_from=40_000)

    assert encoder_rate(vision, pretrained=3e-5, random=2e-3, photographs=10) == 3e-5


def test_the_laptop_preset_shortens_every_image_stage_of_a_small_shop_but_not_of_a_large_one() -> (
    None
):
    settings = load_settings("laptop")
    photographs, queries = {"small": 2_187, "large": 44_072}, {"small": 360, "large": 2_366}
    for size in ("small", "large"):
        loops = [
            (settings.vision.loop, photographs[size], settings.vision.batch_size),
            (settings.align.loop, queries[size], settings.align.batch.queries),
            (settings.fusion.loop, queries[size], settings.fusion.batch.queries),
        ]
        for loop, rows, batch in loops:
            assert (loop.for_rows(rows, batch=batch).steps < loop.steps) is (size == "small")
