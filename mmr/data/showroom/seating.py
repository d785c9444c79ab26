"""Drawings of what one sits, lies or puts the feet on."""

from __future__ import annotations

from mmr.data.showroom.painting import Canvas, Look, Paint, scaled

_SHEET = Paint((238, 236, 230))


def draw_sofa(canvas: Canvas, look: Look) -> None:
    left, seats = (0.13, 2) if look.shape == "two-seat" else (0.0, 3)
    right = 1 - left
    for x in (left + 0.05, right - 0.09):
        canvas.box((x, 0.86, x + 0.04, 0.96), look.trim)
    canvas.box((left + 0.04, 0.34, right - 0.04, 0.74), look.body, 0.9, radius=0.07)
    canvas.box((left + 0.04, 0.72, right - 0.04, 0.88), look.body, 0.78, radius=0.02)
    width = (right - left - 0.22) / seats
    for seat in range(seats):
        x = left + 0.11 + seat * width
        canvas.box((x, 0.4, x + width, 0.65), look.body, 0.97, radius=0.05)
        canvas.box((x, 0.62, x + width, 0.76), look.body, 1.1, radius=0.04)
        if look.material == "leather":
            _tufts(canvas, look, x, width, (0.48, 0.56))
    for x in (left, right - 0.12):
        canvas.box((x, 0.5, x + 0.12, 0.89), look.body, 1.02, radius=0.06)


def _tufts(canvas: Canvas, look: Look, x: float, width: float, rows: tuple[float, ...]) -> None:
    dark = Paint(scaled(look.body.colour, 0.5))
    for y in rows:
        for share in (0.25, 0.5, 0.75):
            middle = x + share * width
            canvas.ellipse((middle - 0.01, y - 0.01, middle + 0.01, y + 0.01), dark, edge=False)


def draw_armchair(canvas: Canvas, look: Look) -> None:
    top = 0.05 if look.shape == "high-back" else 0.34
    for x in (0.24, 0.72):
        canvas.polygon([(x, 0.8), (x + 0.05, 0.8), (x + 0.035, 0.96), (x + 0.015, 0.96)], look.trim)
    canvas.box((0.22, top, 0.78, 0.72), look.body, 0.88, radius=0.13)
    canvas.box((0.2, 0.66, 0.8, 0.83), look.body, 0.78, radius=0.03)
    canvas.box((0.28, 0.58, 0.72, 0.72), look.body, 1.1, radius=0.05)
    if look.material == "leather":
        _tufts(canvas, look, 0.28, 0.44, (top + 0.12, top + 0.22))
    for x in (0.13, 0.72):
        canvas.box((x, 0.48, x + 0.15, 0.84), look.body, 1.02, radius=0.07)


def draw_chair(canvas: Canvas, look: Look) -> None:
    top = 0.02 if look.shape == "high-back" else 0.27
    for x in (0.32, 0.66):
        canvas.box((x, 0.55, x + 0.035, 0.86), look.body, 0.72)  # back legs
    for x in (0.29, 0.67):
        canvas.box((x, top, x + 0.05, 0.6), look.body, 0.95, radius=0.01)
    if look.material == "rattan":
        canvas.box((0.33, top + 0.04, 0.68, 0.5), look.body, 0.92)
    else:
        for step in range(3):
            x = 0.39 + step * 0.095
            canvas.box((x, top + 0.05, x + 0.045, 0.58), look.body, 0.88, edge=False)
    canvas.box((0.27, top, 0.74, top + 0.08), look.body, 1.05, radius=0.03)
    for x in (0.2, 0.745):
        canvas.box((x, 0.64, x + 0.05, 0.98), look.body, 0.92)
    canvas.polygon([(0.28, 0.53), (0.72, 0.53), (0.82, 0.65), (0.18, 0.65)], look.body, 1.1)
    canvas.box((0.18, 0.65, 0.82, 0.7), look.body, 0.85)


def draw_stool(canvas: Canvas, look: Look) -> None:
    legs = look.trim if look.material == "fabric" else look.body
    for top, foot, tone in (
        (0.36, 0.3, 0.7),
        (0.62, 0.68, 0.7),
        (0.26, 0.16, 0.9),
        (0.7, 0.8, 0.9),
    ):
        end = 0.92 if tone == 0.7 else 0.98
        canvas.polygon(
            [(top, 0.45), (top + 0.05, 0.45), (foot + 0.04, end), (foot, end)], legs, tone
        )
    canvas.line([(0.23, 0.78), (0.77, 0.78)], scaled(legs.colour, 0.7), 0.025)
    thick = 0.13 if look.material == "fabric" else 0.05
    if look.shape == "round":
        canvas.ellipse((0.16, 0.3 + thick, 0.84, 0.56 + thick), look.body, 0.75)
        canvas.box((0.16, 0.43, 0.84, 0.43 + thick), look.body, 0.75, edge=False)
        canvas.ellipse((0.16, 0.3, 0.84, 0.56), look.body, 1.06)
    else:
        canvas.box((0.14, 0.5, 0.86, 0.5 + thick), look.body, 0.78)
        canvas.polygon([(0.25, 0.33), (0.75, 0.33), (0.86, 0.5), (0.14, 0.5)], look.body, 1.06)


def draw_bed(canvas: Canvas, look: Look) -> None:
    left, right = (0.27, 0.73) if look.shape == "single" else (0.04, 0.96)
    spread, tone = (look.body, 1.05) if look.material == "fabric" else (_SHEET, 1.0)
    for x in (left, right - 0.04):
        canvas.box((x, 0.84, x + 0.04, 0.96), look.trim)
    _headboard(canvas, look, left, right)
    canvas.box((left + 0.02, 0.42, right - 0.02, 0.6), _SHEET, 0.97, radius=0.02)
    pillows = 1 if look.shape == "single" else 2
    width = (right - left - 0.1) / pillows
    for pillow in range(pillows):
        x = left + 0.05 + pillow * width
        canvas.box((x + 0.02, 0.4, x + width - 0.02, 0.52), _SHEET, 1.06, radius=0.05)
    canvas.polygon(
        [(left + 0.02, 0.55), (right - 0.02, 0.55), (right + 0.02, 0.8), (left - 0.02, 0.8)],
        spread,
        tone,
    )
    canvas.box((left - 0.03, 0.76, right + 0.03, 0.89), look.body, 0.82, radius=0.02)


def _headboard(canvas: Canvas, look: Look, left: float, right: float) -> None:
    if look.material == "metal":
        canvas.box((left - 0.02, 0.14, right + 0.02, 0.19), look.body, radius=0.02)
        count = round((right - left) / 0.1)
        for step in range(count + 1):
            x = left - 0.01 + step * (right - left - 0.02) / count
            canvas.box((x, 0.16, x + 0.04, 0.8), look.body, 0.95)
    else:
        round_off = 0.1 if look.material == "fabric" else 0.02
        canvas.box((left - 0.02, 0.12, right + 0.02, 0.8), look.body, 0.92, radius=round_off)
