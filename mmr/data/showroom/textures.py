"""Surfaces: the light and dark that a material gives to a colour, and the patterns printed on it.

All sizes are fractions of the canvas, so that a drawing looks alike at every resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from mmr.data.showroom.products import pick
from mmr.data.showroom.vocabulary import MATERIALS, PATTERNS, Rgb
from mmr.types import Float32Array

TRANSPARENT = {"glass": 150}  # opacity of materials that let the background through, of 255
_RELIEF_SEED = 20_240_613  # the reliefs are part of the drawing style, not of a catalogue


def _noise(size: int, cell: float, rng: Generator) -> Float32Array:
    """Smooth noise in [-1, 1]; `cell` is the size of its blotches as a share of the canvas."""
    coarse = max(2, round(1 / cell))
    raw = Image.fromarray(rng.integers(0, 256, (coarse, coarse), dtype=np.uint8))
    smooth = np.asarray(raw.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return np.asarray(smooth / 127.5 - 1, np.float32)


def _wood(size: int, rng: Generator) -> Float32Array:
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    rings = np.sin(2 * np.pi * (14 * rows + 1.2 * _noise(size, 0.3, rng)))
    grain = 1.0 - 0.16 * np.clip(rings, 0, 1) ** 2 + 0.03 * _noise(size, 0.01, rng)
    return np.asarray(grain, np.float32)


def _metal(size: int, rng: Generator) -> Float32Array:
    columns = np.linspace(0, 1, size, dtype=np.float32)[None, :]
    bands = 0.16 * np.sin(2 * np.pi * 3 * columns) + 0.08 * np.sin(2 * np.pi * 7 * columns + 1)
    return np.asarray(1.0 + bands + np.zeros((size, 1)), np.float32)


def _glass(size: int, rng: Generator) -> Float32Array:
    diagonal = np.add.outer(*[np.linspace(0, 2, size, dtype=np.float32)] * 2)
    return 1.0 + 0.22 * (np.sin(2 * np.pi * diagonal * 1.5) > 0.75).astype(np.float32)


def _weave(size: int, strand: float, depth: float) -> Float32Array:
    steps = (np.arange(size) / (strand * size)).astype(int)
    board = (np.add.outer(steps, steps) % 2).astype(np.float32)
    inside = np.abs(np.sin(np.pi * np.arange(size) / (strand * size))).astype(np.float32)
    relief = np.where(board > 0, inside[:, None], inside[None, :])
    return np.asarray(1 + depth * 0.4 - depth * (1 - relief), np.float32)


def _rattan(size: int, rng: Generator) -> Float32Array:
    return _weave(size, 0.036, 0.5) + 0.05 * _noise(size, 0.02, rng)


def _fabric(size: int, rng: Generator) -> Float32Array:
    return _weave(size, 0.016, 0.16) + 0.05 * _noise(size, 0.012, rng)


def _velvet(size: int, rng: Generator) -> Float32Array:
    return 1.0 + 0.15 * _noise(size, 0.16, rng) + 0.05 * _noise(size, 0.05, rng)


def _leather(size: int, rng: Generator) -> Float32Array:
    gloss = np.clip(_noise(size, 0.2, rng), 0, 1) ** 2
    cracks = np.abs(_noise(size, 0.035, rng)) < 0.07
    return np.asarray(0.95 + 0.42 * gloss - 0.13 * cracks, np.float32)


def _wool(size: int, rng: Generator) -> Float32Array:
    return 1.0 + 0.13 * _noise(size, 0.018, rng)


def _cotton(size: int, rng: Generator) -> Float32Array:
    return 1.0 + 0.025 * _noise(size, 0.01, rng)


def _linen(size: int, rng: Generator) -> Float32Array:
    thread = np.arange(size) * 64 // size
    across, down = rng.normal(0, 0.05, (2, 64))
    return np.asarray(1.0 + across[thread][:, None] + down[thread][None, :], np.float32)


def _ceramic(size: int, rng: Generator) -> Float32Array:
    across = np.linspace(-1, 1, size, dtype=np.float32)[None, :]
    shine = 0.3 * np.exp(-(((across + 0.25) / 0.1) ** 2)) - 0.18 * across
    return np.asarray(1.0 + shine + np.zeros((size, 1)), np.float32)


def _marble(size: int, rng: Generator) -> Float32Array:
    vein = np.abs(_noise(size, 0.14, rng) + 0.4 * _noise(size, 0.05, rng))
    return np.asarray(1.04 - 0.38 * np.exp(-((vein / 0.07) ** 2)), np.float32)


def _paper(size: int, rng: Generator) -> Float32Array:
    rows = np.arange(size, dtype=np.float32)[:, None] / size
    ribs = 1.0 + 0.07 * np.sin(2 * np.pi * 22 * rows)
    return np.asarray(ribs + np.zeros((1, size)), np.float32)


_RELIEFS: dict[str, Callable[[int, Generator], Float32Array]] = {
    "wood": _wood, "metal": _metal, "glass": _glass, "rattan": _rattan, "fabric": _fabric,
    "velvet": _velvet, "leather": _leather, "wool": _wool, "cotton": _cotton, "linen": _linen,
    "ceramic": _ceramic, "marble": _marble, "paper": _paper,
}  # fmt: skip


@lru_cache(maxsize=64)
def relief(material: str, size: int) -> Float32Array:
    """How much light each point of a material returns: `(size, size, 1)`, around 1."""
    rng = np.random.default_rng([_RELIEF_SEED, [words[0] for words in MATERIALS].index(material)])
    return _RELIEFS[material](size, rng)[:, :, None].astype(np.float32)


def surface(colour: Rgb, material: str, size: int) -> Image.Image:
    """A plain sheet of a material in a colour, RGB of `(size, size)`."""
    lifted = np.maximum(np.asarray(colour, np.float32), 34)  # relief shows on black, too
    light = relief(material, size)
    sheet = np.asarray(colour, np.float32) + lifted * (light - 1)
    return Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))


def pattern_mask(pattern: str, size: int, rng: Generator) -> Image.Image:
    """Where a pattern prints its second colour: an `L` image of `(size, size)`."""
    mask = Image.new("L", (size, size))
    pitch = size * rng.uniform(0.085, 0.14)
    _PATTERNS[pattern](ImageDraw.Draw(mask), size, pitch, rng)
    return mask


def _striped(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    width = round(pitch * rng.uniform(0.32, 0.48))
    lean = pick(rng, (0.0, 0.0, 1.0))  # upright, upright, diagonal
    for step in range(-int(size / pitch) - 1, int(size / pitch) + 2):
        left = step * pitch
        draw.line([(left, 0), (left + lean * size, size)], fill=255, width=width)


def _checked(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    pitch *= 1.25
    count, width = int(size / pitch) + 1, pitch * 0.42
    for step in range(count):
        start = step * pitch
        draw.rectangle([start, 0, start + width, size], fill=125)
        draw.rectangle([0, start, size, start + width], fill=125)
    for row in range(count):
        for column in range(count):
            left, top = column * pitch, row * pitch
            draw.rectangle([left, top, left + width, top + width], fill=255)


def _lattice(size: int, pitch: float) -> list[tuple[float, float]]:
    """Staggered points that cover the sheet."""
    count = int(size / pitch) + 2
    return [
        ((column + (row % 2) / 2) * pitch, row * pitch)
        for row in range(count)
        for column in range(count)
    ]


def _dotted(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    radius = pitch * rng.uniform(0.24, 0.31)
    for x, y in _lattice(size, pitch):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)


def _floral(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    pitch *= 1.6
    petal, turn = pitch * 0.17, rng.uniform(0, 2 * math.pi)
    for x, y in _lattice(size, pitch):
        draw.line([(x, y), (x + pitch * 0.3, y + pitch * 0.5)], fill=150, width=max(1, size // 96))
        for number in range(5):
            angle = turn + x + number * 2 * math.pi / 5
            left, top = x + petal * 1.25 * math.cos(angle), y + petal * 1.25 * math.sin(angle)
            draw.ellipse([left - petal, top - petal, left + petal, top + petal], fill=255)
        core = petal * 0.62
        draw.ellipse([x - core, y - core, x + core, y + core], fill=0)


def _zigzag(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    height, width = pitch * 0.6, round(pitch * 0.34)
    for row in range(-1, int(size / pitch) + 2):
        points = [
            (step * pitch * 0.6, row * pitch + (height if step % 2 else 0))
            for step in range(int(size / pitch / 0.6) + 2)
        ]
        draw.line(points, fill=255, width=width, joint="curve")


def _geometric(draw: ImageDraw.ImageDraw, size: int, pitch: float, rng: Generator) -> None:
    pitch *= 1.35
    for x, y in _lattice(size, pitch):
        for reach, fill in ((0.46, 255), (0.24, 0), (0.1, 255)):
            radius = pitch * reach
            draw.polygon([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], fill)


_PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, int, float, Generator], None]] = {
    "striped": _striped, "checked": _checked, "dotted": _dotted, "floral": _floral,
    "zigzag": _zigzag, "geometric": _geometric,
}  # fmt: skip
assert {words[0] for words in PATTERNS[1:]} == set(_PATTERNS)  # a pattern nobody can draw is a bug
