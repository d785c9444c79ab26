"""Drawings of lamps, textiles and small things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from mmr.data.showroom.painting import Box, Canvas, Look, Paint, Point, scaled
from mmr.data.showroom.products import pick

_LEAF = Paint((70, 122, 62))
_LIGHT = Paint((255, 240, 190))
_SKY = Paint((206, 224, 238))
_GLASS = Paint((200, 214, 222))


def _shade(canvas: Canvas, look: Look, box: Box) -> None:
    """A lampshade inside a box, in the form that the look asks for."""
    left, top, right, bottom = box
    middle, low = (left + right) / 2, bottom - (bottom - top) * 0.12
    if look.shape == "round":
        reach = (bottom - top) * 0.56
        canvas.ellipse((middle - reach, top - 0.04, middle + reach, bottom), look.body)
        return
    narrow = 0.3 if look.shape == "cone-shaped" else 0.0
    inset = (right - left) * narrow
    canvas.ellipse((left, low - 0.02, right, bottom), _LIGHT)
    outline = [(left + inset, top), (right - inset, top), (right, low), (left, low)]
    canvas.polygon(outline, look.body)


def draw_table_lamp(canvas: Canvas, look: Look) -> None:
    canvas.ellipse((0.32, 0.88, 0.68, 0.97), look.trim, 0.9)
    canvas.ellipse((0.37, 0.58, 0.63, 0.94), look.trim)
    canvas.box((0.48, 0.5, 0.52, 0.62), look.trim, 0.8)
    _shade(canvas, look, (0.14, 0.06, 0.86, 0.55))


def draw_floor_lamp(canvas: Canvas, look: Look) -> None:
    canvas.ellipse((0.3, 0.92, 0.7, 0.99), look.trim, 0.9)
    canvas.box((0.48, 0.3, 0.52, 0.96), look.trim)
    _shade(canvas, look, (0.24, 0.01, 0.76, 0.34))


def draw_pendant_lamp(canvas: Canvas, look: Look) -> None:
    canvas.line([(0.5, -0.4), (0.5, 0.4)], scaled(look.trim.colour, 0.7), 0.018)
    canvas.box((0.46, 0.28, 0.54, 0.38), look.trim)
    _shade(canvas, look, (0.12, 0.36, 0.88, 0.86))


def draw_rug(canvas: Canvas, look: Look) -> None:
    if look.shape in ("round", "oval"):
        top = 0.02 if look.shape == "round" else 0.22
        canvas.ellipse((0.02, top, 0.98, 1 - top), look.body, 0.8)
        canvas.ellipse((0.07, top + 0.05, 0.93, 0.95 - top), look.body)
        return
    top = 0.33 if look.shape == "narrow" else 0.16
    for step in range(18):  # fringes at both short ends
        y = top + 0.01 + (1 - 2 * top - 0.02) * step / 17
        canvas.line([(-0.02, y), (1.02, y)], (226, 216, 194), 0.012)
    canvas.box((0.03, top, 0.97, 1 - top), look.body, 0.8)
    canvas.box((0.08, top + 0.05, 0.92, 0.95 - top), look.body)


def _profile(canvas: Canvas, look: Look, widths: Sequence[Point]) -> None:
    """Fills a turned body from (height, half width) pairs, from top to bottom."""
    smooth: list[Point] = []
    for (y0, w0), (y1, w1) in pairwise(widths):
        for step in range(6):
            share = (1 - math.cos(math.pi * step / 6)) / 2
            smooth.append((y0 + (y1 - y0) * step / 6, w0 + (w1 - w0) * share))
    smooth.append(widths[-1])
    left = [(0.5 - half, y) for y, half in smooth]
    right = [(0.5 + half, y) for y, half in reversed(smooth)]
    canvas.polygon([*left, *right], look.body)
    mouth, half = widths[0]
    canvas.ellipse((0.5 - half, mouth - 0.03, 0.5 + half, mouth + 0.03), look.body, 0.6)


_VASES: dict[str, tuple[Point, ...]] = {
    "tall": ((0.2, 0.15), (0.32, 0.11), (0.6, 0.21), (0.97, 0.13)),
    "round": ((0.36, 0.14), (0.45, 0.12), (0.7, 0.38), (0.97, 0.16)),
    "narrow": ((0.2, 0.06), (0.52, 0.05), (0.74, 0.22), (0.97, 0.17)),
}


def draw_vase(canvas: Canvas, look: Look) -> None:
    if look.rng.random() < 0.5:
        mouth = _VASES[look.shape][0][0]
        for reach in (-0.14, 0.02, 0.16):
            tip = (0.5 + reach, mouth - float(look.rng.uniform(0.16, 0.24)))
            canvas.line([(0.5, mouth), tip], (104, 112, 74), 0.014)
            canvas.ellipse(
                (tip[0] - 0.03, tip[1] - 0.035, tip[0] + 0.03, tip[1] + 0.03),
                Paint((206, 190, 160)),
            )
    _profile(canvas, look, _VASES[look.shape])


def draw_curtain(canvas: Canvas, look: Look) -> None:
    bottom = 0.97 if look.shape == "long" else 0.62
    canvas.box((0.2, 0.08, 0.8, 0.56), Paint((236, 234, 230)))
    for box in ((0.23, 0.11, 0.49, 0.53), (0.51, 0.11, 0.77, 0.53)):
        canvas.box(box, _SKY)
    for left, right in ((0.02, 0.38), (0.62, 0.98)):
        canvas.box((left, 0.06, right, bottom), look.body)
        width = (right - left) / 6
        for fold in range(6):
            x = left + fold * width
            tone = 0.88 if fold % 2 else 1.03
            outline = [(x, 0.06), (x + width, 0.06), (x + width * 0.9, bottom), (x, bottom)]
            canvas.polygon(outline, look.body, tone, edge=False)
    canvas.box((-0.02, 0.03, 1.02, 0.07), look.trim, radius=0.02)
    for x in (-0.04, 0.98):
        canvas.ellipse((x, 0.01, x + 0.07, 0.09), look.trim)


def draw_cushion(canvas: Canvas, look: Look) -> None:
    low = {"square": 0.94, "round": 0.96, "rectangular": 0.8}[look.shape]
    canvas.shade((0.08, low - 0.18, 0.92, low + 0.02), 0.3)
    if look.shape == "round":
        canvas.ellipse((0.06, 0.08, 0.94, 0.92), look.body)
        canvas.ellipse((0.16, 0.16, 0.84, 0.8), look.body, 1.07, edge=False)
        canvas.ellipse((0.465, 0.45, 0.535, 0.52), look.body, 0.6)
        return
    tall = 0.42 if look.shape == "square" else 0.27
    turn = float(look.rng.uniform(-0.22, 0.22))
    outline = _pinched(0.43, tall, turn)
    canvas.polygon(outline, look.body, 0.9)
    canvas.polygon(_pinched(0.36, tall - 0.07, turn), look.body, 1.07, edge=False)


def _pinched(half_width: float, half_height: float, turn: float) -> list[Point]:
    """A box whose sides bend inwards between pointed corners, turned by an angle in radians."""
    points: list[Point] = []
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
        for step in range(6):
            share = step / 6
            pinch = 1 - 0.11 * math.sin(math.pi * share)
            x = (x0 + (x1 - x0) * share) * half_width * (pinch if x0 == x1 else 1)
            y = (y0 + (y1 - y0) * share) * half_height * (pinch if y0 == y1 else 1)
            points.append(
                (
                    0.5 + x * math.cos(turn) - y * math.sin(turn),
                    0.5 + x * math.sin(turn) + y * math.cos(turn),
                )
            )
    return points


def _form(canvas: Canvas, shape: str, inset: float, paint: Paint, tone: float = 1.0) -> None:
    """A flat wall piece in one of the shapes of mirrors and clocks."""
    if shape == "round":
        canvas.ellipse((0.04 + inset, 0.04 + inset, 0.96 - inset, 0.96 - inset), paint, tone)
    elif shape == "oval":
        canvas.ellipse((0.18 + inset, 0.02 + inset, 0.82 - inset, 0.98 - inset), paint, tone)
    elif shape == "square":
        canvas.box((0.06 + inset, 0.06 + inset, 0.94 - inset, 0.94 - inset), paint, tone)
    elif shape == "hexagonal":
        reach = 0.5 - inset
        angles = [math.pi / 6 + number * math.pi / 3 for number in range(6)]
        canvas.polygon(
            [(0.5 + reach * math.cos(a), 0.5 + reach * math.sin(a)) for a in angles], paint, tone
        )
    else:  # arched
        arch = [math.pi + number * math.pi / 12 for number in range(13)]
        reach = 0.3 - inset
        top = [(0.5 + reach * math.cos(a), 0.34 + reach * math.sin(a)) for a in arch]
        canvas.polygon(
            [*top, (0.5 + reach, 0.97 - inset), (0.5 - reach, 0.97 - inset)], paint, tone
        )


def draw_mirror(canvas: Canvas, look: Look) -> None:
    _form(canvas, look.shape, 0.0, look.body)
    _form(canvas, look.shape, 0.105, _GLASS)
    for shift in (0.0, 0.1):
        canvas.line([(0.4 + shift, 0.6), (0.54 + shift, 0.34)], (238, 244, 248), 0.035)


def draw_clock(canvas: Canvas, look: Look) -> None:
    _form(canvas, look.shape, 0.0, look.body, 0.82)
    _form(canvas, look.shape, 0.1, look.body, 1.06)
    ink = (40, 40, 44) if sum(look.body.colour) > 330 else (244, 242, 236)
    for hour in range(12):
        angle = hour * math.pi / 6
        x, y = math.sin(angle), -math.cos(angle)
        inner = 0.27 if hour % 3 == 0 else 0.3
        canvas.line(
            [(0.5 + inner * x, 0.5 + inner * y), (0.5 + 0.34 * x, 0.5 + 0.34 * y)], ink, 0.028
        )
    for reach, width in ((0.17, 0.04), (0.26, 0.026)):
        angle = float(look.rng.uniform(0, 2 * math.pi))
        tip = (0.5 + reach * math.sin(angle), 0.5 - reach * math.cos(angle))
        canvas.line([(0.5, 0.5), tip], ink, width)
    canvas.ellipse((0.47, 0.47, 0.53, 0.53), Paint(ink))


def draw_plant_pot(canvas: Canvas, look: Look) -> None:
    top = 0.38 if look.shape == "tall" else 0.5
    _leaves(canvas, look, top)
    if look.shape == "square":
        canvas.box((0.2, top, 0.8, 0.97), look.body)
        canvas.box((0.18, top, 0.82, top + 0.08), look.body, 1.08)
    elif look.shape == "tall":
        canvas.polygon([(0.3, top), (0.7, top), (0.63, 0.98), (0.37, 0.98)], look.body)
        canvas.box((0.28, top, 0.72, top + 0.06), look.body, 1.08)
    else:
        canvas.ellipse((0.16, top - 0.06, 0.84, 0.98), look.body)
        canvas.box((0.26, top - 0.04, 0.74, top + 0.05), look.body, 1.08, radius=0.02)


def _leaves(canvas: Canvas, look: Look, top: float) -> None:
    count, spiky = int(look.rng.integers(5, 8)), look.rng.random() < 0.5
    for number in range(count):
        lean = (number / (count - 1) - 0.5) * 1.7 + float(look.rng.uniform(-0.1, 0.1))
        reach = (top - 0.02) * float(look.rng.uniform(0.75, 1.0))
        tip = (0.5 + reach * math.sin(lean), top - reach * math.cos(lean))
        across = 0.035 if spiky else 0.09
        waist = (0.5 + 0.55 * (tip[0] - 0.5), top + 0.55 * (tip[1] - top))
        side = (across * math.cos(lean), across * math.sin(lean))
        outline = [
            (0.5, top + 0.03),
            (waist[0] - side[0], waist[1] - side[1]),
            tip,
            (waist[0] + side[0], waist[1] + side[1]),
        ]
        canvas.polygon(outline, _LEAF, pick(look.rng, (0.8, 1.0, 1.2)))


def draw_basket(canvas: Canvas, look: Look) -> None:
    rim = scaled(look.body.colour, 0.75)
    for x in (0.06, 0.74):
        canvas.arc((x, 0.3, x + 0.2, 0.62), 180, 360, rim, 0.04)
    if look.shape == "round":
        canvas.polygon([(0.08, 0.42), (0.92, 0.42), (0.8, 0.93), (0.2, 0.93)], look.body)
        canvas.ellipse((0.2, 0.87, 0.8, 0.98), look.body, edge=False)
        canvas.ellipse((0.08, 0.33, 0.92, 0.52), look.body, 1.1)
        canvas.ellipse((0.13, 0.36, 0.87, 0.5), look.body, 0.42)
    else:
        canvas.box((0.1, 0.44, 0.9, 0.97), look.body)
        canvas.polygon([(0.18, 0.33), (0.82, 0.33), (0.9, 0.46), (0.1, 0.46)], look.body, 1.1)
        canvas.polygon([(0.23, 0.36), (0.77, 0.36), (0.83, 0.44), (0.17, 0.44)], look.body, 0.42)
    for y in (0.62, 0.8):
        inset = (y - 0.42) * 0.24 if look.shape == "round" else 0.02
        canvas.line([(0.08 + inset, y), (0.92 - inset, y)], rim, 0.018)
