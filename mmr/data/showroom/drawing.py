"""Photographs of products: background, light and the drawing itself."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from mmr.data.showroom import decor, seating, tables
from mmr.data.showroom.painting import (
    SUPERSAMPLING,
    Canvas,
    Look,
    mix_paint,
    scaled,
    trim_paint,
)
from mmr.data.showroom.products import Product, Stream, pick, stream
from mmr.data.showroom.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES, TYPES, Rgb

DRAWINGS: dict[str, Callable[[Canvas, Look], None]] = {
    "sofa": seating.draw_sofa,
    "armchair": seating.draw_armchair,
    "chair": seating.draw_chair,
    "stool": seating.draw_stool,
    "bed": seating.draw_bed,
    "table": tables.draw_table,
    "coffee table": tables.draw_coffee_table,
    "desk": tables.draw_desk,
    "wardrobe": tables.draw_wardrobe,
    "bookcase": tables.draw_bookcase,
    "chest of drawers": tables.draw_chest,
    "table lamp": decor.draw_table_lamp,
    "floor lamp": decor.draw_floor_lamp,
    "pendant lamp": decor.draw_pendant_lamp,
    "rug": decor.draw_rug,
    "vase": decor.draw_vase,
    "curtain": decor.draw_curtain,
    "cushion": decor.draw_cushion,
    "mirror": decor.draw_mirror,
    "clock": decor.draw_clock,
    "plant pot": decor.draw_plant_pot,
    "basket": decor.draw_basket,
}
assert {kind.name for kind in TYPES} == set(DRAWINGS)  # a type nobody can draw is a bug

_WALLS: tuple[Rgb, ...] = (
    (226, 224, 220), (204, 200, 194), (188, 196, 200), (206, 214, 206), (222, 208, 200),
    (176, 172, 166), (150, 160, 166), (196, 186, 170), (255, 255, 255), (238, 238, 240),
)  # fmt: skip
_LOUD_WALLS: tuple[Rgb, ...] = ((126, 150, 170), (158, 172, 140), (196, 148, 126), (170, 150, 178))
_FLOORS: tuple[Rgb, ...] = (
    (168, 132, 96), (198, 170, 134), (128, 98, 74), (156, 154, 150), (206, 204, 200),
)  # fmt: skip


def photograph(product: Product, *, seed: int, px: int, quality: int) -> bytes:
    """The product's photograph as JPEG bytes, `px` by `px`."""
    image = draw_product(product, seed=seed, px=px)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def draw_product(product: Product, *, seed: int, px: int) -> Image.Image:
    """Draws the product, RGB of `(px, px)`.

    Products that share seed and number and differ in colour alone get the same pose and light.
    """
    rng = stream(seed, product.number, Stream.IMAGE)
    size = px * SUPERSAMPLING
    kind = product.kind
    scale = rng.uniform(0.62, 0.9)
    room = 1 - scale
    horizon = rng.uniform(0.55, 0.8)
    canvas = Canvas(
        _background(size, horizon=None if kind.hangs else horizon, rng=rng),
        scale=scale,
        left=room * rng.uniform(0.15, 0.85),
        top=room * rng.uniform(0.15, 0.85),
        mirrored=bool(rng.random() < 0.5),
    )
    material = MATERIALS[product.material][0]
    look = Look(
        body=mix_paint(
            COLOURS[product.colour].rgb, material, PATTERNS[product.pattern][0], size, rng
        ),
        trim=trim_paint(rng),
        material=material,
        shape=SHAPES[product.shape][0],
        rng=rng,
    )
    if not kind.hangs:
        canvas.shade((0.04, 0.86, 0.96, 1.03), rng.uniform(0.15, 0.4))
    DRAWINGS[kind.name](canvas, look)
    return _lit(canvas.image.reduce(SUPERSAMPLING), rng)


def _background(size: int, *, horizon: float | None, rng: Generator) -> Image.Image:
    """A wall, above a floor where there is a horizon; or a studio sheet."""
    wall = pick(rng, _LOUD_WALLS if rng.random() < 0.15 else _WALLS)
    image = Image.new("RGB", (size, size), wall)
    floor, studio = pick(rng, _FLOORS), rng.random() < 0.4
    if horizon is None or studio:
        return image
    draw = ImageDraw.Draw(image)
    edge = round(horizon * size)
    draw.rectangle([0, edge, size, size], fill=floor)
    draw.line([(0, edge), (size, edge)], fill=scaled(wall, 0.8), width=max(2, size // 60))
    for step in range(1, 5):
        y = edge + (size - edge) * (step / 5) ** 1.6
        draw.line([(0, y), (size, y)], fill=scaled(floor, 0.92), width=max(1, size // 190))
    return image


def _lit(image: Image.Image, rng: Generator) -> Image.Image:
    """The picture under uneven light, a little warm or cold, with sensor noise."""
    pixels = np.asarray(image, np.float32)
    px = len(pixels)
    ramp = np.linspace(-0.5, 0.5, px, dtype=np.float32)
    across, down = rng.normal(0, 0.1, 2)
    light = rng.uniform(0.86, 1.08) + across * ramp[None, :] + down * ramp[:, None]
    warmth = rng.normal(0, 0.025)
    tint = np.asarray([1 + warmth, 1.0, 1 - warmth], np.float32)
    noise = rng.standard_normal((px, px, 1), dtype=np.float32) * rng.uniform(1, 4)
    lit = pixels * light[:, :, None] * tint + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
