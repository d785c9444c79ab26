"""Geometry of the report's charts: numbers to SVG coordinates; the template draws and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmr.monitoring.report import Hour

BARS_WIDTH, BARS_HEIGHT = 220, 70
HOURS_WIDTH, HOURS_HEIGHT = 960, 150
_GAP = 0.2  # of a bar's room


@dataclass(frozen=True)
class Bar:
    """A bar, and the height of the mark that it is held against; all in SVG units."""

    x: float
    y: float
    width: float
    height: float
    mark: float


@dataclass(frozen=True)
class HourChart:
    """Queries as bars and the 95th percentile of the latency as a line, hour by hour.

    Attributes:
        bars: One an hour; its mark is unused.
        line: Points of the polyline.
        most: Queries of the fullest hour.
        slowest: Milliseconds of the slowest hour.
    """

    bars: list[Bar]
    line: str
    most: float
    slowest: float


def share_bars(observed: Sequence[float], expected: Sequence[float]) -> list[Bar]:
    """Lays out observed shares as bars, and expected ones as marks, on one scale."""
    top = max(*observed, *expected)
    room = BARS_WIDTH / len(observed)
    return [
        Bar(
            x=round(place * room, 2),
            y=round(BARS_HEIGHT * (1 - share / top), 2),
            width=round(room * (1 - _GAP), 2),
            height=round(BARS_HEIGHT * share / top, 2),
            mark=round(BARS_HEIGHT * (1 - wanted / top), 2),
        )
        for place, (share, wanted) in enumerate(zip(observed, expected, strict=True))
    ]


def hour_chart(hours: Sequence[Hour]) -> HourChart | None:
    """Lays out the hours side by side; None where there is none."""
    if not hours:
        return None
    most = max(hour.queries for hour in hours)
    slowest = max((hour.p95_ms or 0.0 for hour in hours), default=0.0)
    room = HOURS_WIDTH / len(hours)
    bars = [
        Bar(
            x=round(place * room, 2),
            y=round(HOURS_HEIGHT * (1 - hour.queries / most), 2),
            width=round(room * (1 - _GAP), 2),
            height=round(HOURS_HEIGHT * hour.queries / most, 2),
            mark=0,
        )
        for place, hour in enumerate(hours)
    ]
    points = [
        f"{(place + 0.4) * room:.2f},{HOURS_HEIGHT * (1 - hour.p95_ms / slowest):.2f}"
        for place, hour in enumerate(hours)
        if hour.p95_ms is not None and slowest
    ]
    return HourChart(bars, " ".join(points), most, slowest)
