"""Drawings of tables and of furniture that holds things."""

from __future__ import annotations

from mmr.data.showroom.painting import Canvas, Look, Paint, Point, scaled
from mmr.data.showroom.products import pick

_BOOKS = ((122, 84, 72), (84, 96, 110), (176, 160, 128), (92, 110, 92), (150, 96, 88))


def draw_table(canvas: Canvas, look: Look) -> None:
    _table(canvas, look, top=0.3, foot=0.95)


def draw_coffee_table(canvas: Canvas, look: Look) -> None:
    _table(canvas, look, top=0.54, foot=0.96)
    if look.shape in ("square", "rectangular"):
        canvas.box((0.14, 0.86, 0.86, 0.89), look.body, 0.7)


def _table(canvas: Canvas, look: Look, *, top: float, foot: float) -> None:
    if look.shape in ("round", "oval"):
        _pedestal_table(canvas, look, top=top, foot=foot)
        return
    left, inset, depth = (0.02, 0.1, 0.13) if look.shape == "rectangular" else (0.14, 0.16, 0.24)
    right = 1 - left
    legs = look.trim if look.material in ("glass", "marble") else look.body
    far = foot - depth * 0.8
    for x in (left + inset + 0.02, right - inset - 0.06):
        canvas.box((x, top + 0.06, x + 0.04, far), legs, 0.68)
    for x in (left + 0.03, right - 0.08):
        canvas.box((x, top + depth, x + 0.05, foot), legs, 0.9)
    canvas.polygon(
        [(left + inset, top), (right - inset, top), (right, top + depth), (left, top + depth)],
        look.body,
        1.08,
    )
    canvas.box((left, top + depth, right, top + depth + 0.05), look.body, 0.8)


def _pedestal_table(canvas: Canvas, look: Look, *, top: float, foot: float) -> None:
    left, depth = (0.15, 0.5 * (foot - top)) if look.shape == "round" else (0.0, 0.2)
    base = look.trim if look.material in ("glass", "marble") else look.body
    middle = top + depth / 2
    canvas.ellipse((0.28, foot - 0.1, 0.72, foot), base, 0.75)
    canvas.polygon(
        [(0.45, middle), (0.55, middle), (0.58, foot - 0.05), (0.42, foot - 0.05)], base, 0.85
    )
    canvas.ellipse((left, top + 0.04, 1 - left, top + depth + 0.04), look.body, 0.72)
    canvas.ellipse((left, top, 1 - left, top + depth), look.body, 1.08)


def draw_desk(canvas: Canvas, look: Look) -> None:
    left = 0.18 if look.shape == "narrow" else 0.0
    right = 1 - left
    frame = look.trim if look.material == "glass" else look.body
    canvas.box((left + 0.03, 0.42, left + 0.08, 0.95), frame, 0.9)
    canvas.box((left + 0.12, 0.42, left + 0.15, 0.86), frame, 0.68)
    canvas.box((right - 0.3, 0.42, right - 0.03, 0.93), look.body, 0.82)
    for row in range(3):
        y = 0.5 + row * 0.14
        canvas.box((right - 0.28, y, right - 0.05, y + 0.12), look.body, 1.0)
        canvas.box((right - 0.2, y + 0.045, right - 0.13, y + 0.07), look.trim, edge=False)
    corner: list[Point] = [(left + 0.08, 0.34), (right - 0.08, 0.34), (right, 0.44), (left, 0.44)]
    canvas.polygon(corner, look.body, 1.08)
    canvas.box((left, 0.44, right, 0.49), look.body, 0.86)


def draw_wardrobe(canvas: Canvas, look: Look) -> None:
    left, doors = (0.27, 2) if look.shape == "narrow" else (0.06, 3)
    right = 1 - left
    for x in (left + 0.02, right - 0.07):
        canvas.box((x, 0.93, x + 0.05, 0.99), look.trim)
    canvas.box((left, 0.03, right, 0.95), look.body, 0.82)
    canvas.box((left - 0.02, 0.01, right + 0.02, 0.06), look.body, 1.08)
    width = (right - left - 0.04) / doors
    for door in range(doors):
        x = left + 0.02 + door * width
        canvas.box((x + 0.008, 0.08, x + width - 0.008, 0.9), look.body, 1.0)
        canvas.box((x + 0.04, 0.13, x + width - 0.04, 0.84), look.body, 0.93)
        knob = x + (width - 0.035 if door % 2 == 0 else 0.015)
        canvas.box((knob, 0.44, knob + 0.02, 0.54), look.trim, edge=False)


def draw_bookcase(canvas: Canvas, look: Look) -> None:
    left, top, shelves, bays = (0.24, 0.02, 5, 1) if look.shape == "tall" else (0.04, 0.42, 2, 3)
    right, bottom = 1 - left, 0.96
    canvas.box((left, top, right, bottom), look.body, 1.0)
    height, width = (bottom - top - 0.04) / shelves, (right - left - 0.04) / bays
    for shelf in range(shelves):
        for bay in range(bays):
            x, y = left + 0.04 + bay * width, top + 0.04 + shelf * height
            canvas.box((x, y, x + width - 0.04, y + height - 0.04), look.body, 0.52)
            if look.rng.random() < 0.65:
                _books(canvas, look, x + 0.01, y + height - 0.045, height * 0.62, width * 0.55)


def _books(canvas: Canvas, look: Look, x: float, floor: float, height: float, room: float) -> None:
    end = x + room
    while x < end:
        width = float(look.rng.uniform(0.022, 0.04))
        top = floor - height * float(look.rng.uniform(0.75, 1.0))
        canvas.box((x, top, x + width, floor), Paint(pick(look.rng, _BOOKS)))
        x += width


def draw_chest(canvas: Canvas, look: Look) -> None:
    left, top, rows, columns = (0.26, 0.08, 5, 1) if look.shape == "tall" else (0.03, 0.36, 3, 2)
    right, bottom = 1 - left, 0.92
    for x in (left + 0.03, right - 0.08):
        canvas.box((x, bottom - 0.02, x + 0.05, 0.99), look.trim)
    canvas.box((left, top, right, bottom), look.body, 0.8)
    canvas.box((left - 0.02, top - 0.04, right + 0.02, top + 0.02), look.body, 1.08)
    height, width = (bottom - top - 0.06) / rows, (right - left - 0.04) / columns
    for row in range(rows):
        for column in range(columns):
            x, y = left + 0.02 + column * width, top + 0.04 + row * height
            canvas.box((x + 0.01, y, x + width - 0.01, y + height - 0.02), look.body, 1.02)
            middle, knob = x + width / 2, y + height / 2 - 0.02
            if look.material == "metal":
                canvas.line(
                    [(middle - 0.07, knob), (middle + 0.07, knob)],
                    scaled(look.trim.colour, 0.8),
                    0.02,
                )
            else:
                canvas.ellipse((middle - 0.02, knob, middle + 0.02, knob + 0.04), look.trim)
