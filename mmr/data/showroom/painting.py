"""The easel: a canvas in unit coordinates and paints that carry material and pattern."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmr.data.showroom.products import pick
from mmr.data.showroom.textures import TRANSPARENT, pattern_mask, surface
from mmr.data.showroom.vocabulary import COLOURS, Rgb

SUPERSAMPLING = 2
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Shape = Callable[[ImageDraw.ImageDraw, Sequence[Point], Any], None]  # draws one filled shape
_ACCENTS: tuple[Rgb, ...] = ((248, 246, 240), (36, 34, 38), *(colour.rgb for colour in COLOURS))
_CONTRAST = 120.0  # least distance in RGB between a colour and the accent printed on it


def scaled(colour: Rgb, factor: float) -> Rgb:
    """A colour in more or less light."""
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


@dataclass
class Paint:
    """What a surface is painted with.

    Attributes:
        colour: Its main colour, used for edges and, without a sheet, for everything.
        sheet: A textured sheet as large as the canvas, or None for flat paint.
        opacity: 255 hides the background.
    """

    colour: Rgb
    sheet: Image.Image | None = None
    opacity: int = 255
    _toned: dict[float, Image.Image] = field(default_factory=dict)

    def toned(self, tone: float) -> Image.Image:
        """The sheet in more (above 1) or less light."""
        assert self.sheet is not None
        if tone not in self._toned:
            self._toned[tone] = (
                self.sheet
                if tone == 1.0
                else self.sheet.point([min(255, round(v * tone)) for v in range(256)] * 3)
            )
        return self._toned[tone]


def mix_paint(colour: Rgb, material: str, pattern: str, size: int, rng: Generator) -> Paint:
    """A paint in a colour, with a material's relief and a pattern in a contrasting accent.

    The same numbers are drawn whatever the colour, so that products that differ in colour alone
    are drawn alike.
    """
    jitter = rng.normal(0, 7, 1) + rng.normal(0, 3, 3)
    base = _clip(np.asarray(colour) + jitter)
    paint = Paint(base, surface(base, material, size), TRANSPARENT.get(material, 255))
    accents = rng.permutation(np.arange(2, len(_ACCENTS)))
    order = [0, 1, *accents] if rng.random() < 0.7 else [*accents]
    if pattern != "plain":
        accent = next(_ACCENTS[i] for i in order if _distance(_ACCENTS[i], base) > _CONTRAST)
        printed = surface(accent, material, size)
        assert paint.sheet is not None
        paint.sheet.paste(printed, mask=pattern_mask(pattern, size, rng))
    return paint


def _clip(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = (int(v) for v in np.clip(np.round(values), 0, 255))
    return red, green, blue


def _distance(first: Rgb, second: Rgb) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


class Canvas:
    """A square picture that is drawn on in unit coordinates, (0, 0) at the top left.

    Args:
        background: What lies behind the product, square, RGB; it is drawn upon.
        scale: Share of the picture that the unit square fills.
        left, top: Where the unit square begins, as a share of the picture.
        mirrored: Whether left and right are swapped.
    """

    def __init__(
        self, background: Image.Image, *, scale: float, left: float, top: float, mirrored: bool
    ) -> None:
        self.image = background
        self.size = background.width
        self._draw = ImageDraw.Draw(background)
        self._scale, self._left, self._top = scale * self.size, left * self.size, top * self.size
        self._mirrored = mirrored

    def polygon(
        self, points: Sequence[Point], paint: Paint, tone: float = 1.0, *, edge: bool = True
    ) -> None:
        """Fills a polygon."""
        places = [self._place(point) for point in points]
        self._fill(places, paint, tone, lambda draw, inner, fill: draw.polygon(inner, fill))
        if edge:
            self._draw.line(
                [*places, places[0]], fill=_edge(paint, tone), width=self._edge_width, joint="curve"
            )

    def ellipse(self, box: Box, paint: Paint, tone: float = 1.0, *, edge: bool = True) -> None:
        """Fills an ellipse inside a box (left, top, right, bottom)."""
        corners = self._corners(box)
        self._fill(corners, paint, tone, lambda draw, inner, fill: draw.ellipse(inner, fill))
        if edge:
            self._draw.ellipse(corners, outline=_edge(paint, tone), width=self._edge_width)

    def box(
        self,
        box: Box,
        paint: Paint,
        tone: float = 1.0,
        *,
        radius: float = 0.0,
        edge: bool = True,
    ) -> None:
        """Fills a box (left, top, right, bottom) with rounded corners."""
        corners = self._corners(box)
        bend = min(radius * self._scale, (corners[1][1] - corners[0][1]) / 2)
        bend = min(bend, (corners[1][0] - corners[0][0]) / 2)
        self._fill(
            corners,
            paint,
            tone,
            lambda draw, inner, fill: draw.rounded_rectangle(inner, bend, fill),
        )
        if edge:
            self._draw.rounded_rectangle(
                corners, bend, outline=_edge(paint, tone), width=self._edge_width
            )

    def line(self, points: Sequence[Point], colour: Rgb, width: float) -> None:
        """Draws a line; `width` is in unit coordinates."""
        places = [self._place(point) for point in points]
        self._draw.line(places, fill=colour, width=max(1, round(width * self._scale)))

    def arc(self, box: Box, start: float, end: float, colour: Rgb, width: float) -> None:
        """Draws an arc, degrees clockwise from three o'clock."""
        thick = max(1, round(width * self._scale))
        self._draw.arc(self._corners(box), start, end, fill=colour, width=thick)

    def shade(self, box: Box, strength: float) -> None:
        """Darkens the background inside an ellipse: the shadow that a product throws."""
        corners = self._corners(box)
        dark = Paint((25, 22, 20), opacity=round(255 * strength))
        self._fill(corners, dark, 1.0, lambda draw, inner, fill: draw.ellipse(inner, fill))

    @property
    def _edge_width(self) -> int:
        return max(1, self.size // 120)

    def _place(self, point: Point) -> Point:
        x = 1 - point[0] if self._mirrored else point[0]
        return self._left + x * self._scale, self._top + point[1] * self._scale

    def _corners(self, box: Box) -> list[Point]:
        first, second = self._place(box[:2]), self._place(box[2:])
        return [(min(first[0], second[0]), first[1]), (max(first[0], second[0]), second[1])]

    def _fill(self, places: Sequence[Point], paint: Paint, tone: float, draw_shape: Shape) -> None:
        if paint.sheet is None and paint.opacity == 255:
            draw_shape(self._draw, places, scaled(paint.colour, tone))
            return
        left, top = (max(0, int(min(p[axis] for p in places)) - 1) for axis in (0, 1))
        right, bottom = (min(self.size, int(max(p[axis] for p in places)) + 2) for axis in (0, 1))
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top))
        draw_shape(ImageDraw.Draw(mask), [(x - left, y - top) for x, y in places], paint.opacity)
        area = (left, top, right, bottom)
        if paint.sheet is None:
            self.image.paste(scaled(paint.colour, tone), area, mask)
        else:
            self.image.paste(paint.toned(tone).crop(area), area, mask)


def _edge(paint: Paint, tone: float) -> Rgb:
    dark = scaled(paint.colour, 0.62 * tone)
    return dark if sum(paint.colour) > 150 else scaled((74, 74, 80), tone)


@dataclass(frozen=True)
class Look:
    """How one product is to be drawn.

    Attributes:
        body: The paint of what gives the product its colour.
        trim: The paint of legs, poles and handles.
        material, shape: Canonical words.
        rng: For details that mean nothing.
    """

    body: Paint
    trim: Paint
    material: str
    shape: str
    rng: Generator


def trim_paint(rng: Generator) -> Paint:
    """Paint of legs and poles: dark wood, light wood, black or steel."""
    return Paint(pick(rng, ((92, 62, 40), (188, 148, 102), (44, 44, 48), (158, 160, 166))))
