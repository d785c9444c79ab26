"""Geometry of the report's charts: numbers to SVG coordinates; the template draws and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmr.evaluation.significance import PairedComparison

WIDTH, HEIGHT = 960, 220  # of the gain chart, in SVG units
_MOST_STEPS = 480  # more queries are averaged in neighbouring groups: a step stays 2 units wide


@dataclass(frozen=True)
class GainChart:
    """Gains per query, largest first, as two filled step curves above and below a zero line.

    Attributes:
        above: SVG path of the gains.
        below: SVG path of the losses.
        zero: Height of the zero line.
        ticks: Height and label of the horizontal lines.
    """

    above: str
    below: str
    zero: float
    ticks: list[tuple[float, str]]


def gain_chart(gains: Sequence[float]) -> GainChart:
    """Lays out the gains, which must be sorted from high to low."""
    groups = np.array_split(np.asarray(gains, dtype=np.float64), min(len(gains), _MOST_STEPS))
    steps = [float(group.mean()) for group in groups]
    reach = max(0.05, *(abs(step) for step in steps))
    scale = (HEIGHT / 2 - 8) / reach
    zero = HEIGHT / 2
    tick = 0.5 if reach > 0.5 else reach / 2
    return GainChart(
        above=_steps([max(0.0, step) for step in steps], zero=zero, scale=scale),
        below=_steps([min(0.0, step) for step in steps], zero=zero, scale=scale),
        zero=zero,
        ticks=[(round(zero - value * scale, 2), f"{value:+.2g}") for value in (tick, -tick)],
    )


def _steps(values: Sequence[float], *, zero: float, scale: float) -> str:
    width = WIDTH / len(values)
    path = [f"M0 {zero:g}"]
    for place, value in enumerate(values):
        height = zero - value * scale
        path.append(f"L{place * width:.2f} {height:.2f}L{(place + 1) * width:.2f} {height:.2f}")
    return "".join(path) + f"L{WIDTH} {zero:g}Z"


@dataclass(frozen=True)
class Whisker:
    """An interval around a gain, in percent of the width of its cell; `zero` is always 50."""

    low: float
    gain: float
    high: float
    zero: float = 50.0


def whiskers(comparisons: Sequence[PairedComparison]) -> list[Whisker]:
    """Lays out intervals on one scale, symmetric around zero."""
    reach = max([0.01, *(max(abs(c.ci_low), abs(c.ci_high)) for c in comparisons)])

    def place(value: float) -> float:
        return round(50 + 48 * value / reach, 2)

    return [Whisker(place(c.ci_low), place(c.gain), place(c.ci_high)) for c in comparisons]
