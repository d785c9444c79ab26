import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmr.data.showroom.drawing import draw_product, photograph
from mmr.data.showroom.products import Product, sample_product
from mmr.data.showroom.vocabulary import (
    COLOURS,
    MATERIAL_CODE,
    PATTERNS,
    SHAPE_CODE,
    TYPES,
)

PX = 48


def _product(type_code: int, number: int, *, colour: int = 5, pattern: int = 0) -> Product:
    kind = TYPES[type_code]
    opaque = next(name for name in kind.materials if name != "glass")
    return Product(
        number=number,
        type=type_code,
        colour=colour,
        pattern=pattern,
        material=MATERIAL_CODE[opaque],
        shape=SHAPE_CODE[kind.shapes[0]],
        series=0,
        size=0,
    )


def _pixels(product: Product) -> np.ndarray:
    return np.asarray(draw_product(product, seed=1, px=PX), np.float32)


def test_drawn_colour_is_nearest_to_the_true_colour_in_most_pictures() -> None:
    """The body is where pictures that differ in colour alone differ."""
    palette = np.asarray([colour.rgb for colour in COLOURS], np.float32)
    right = []
    for type_code in range(len(TYPES)):
        for colour in range(len(COLOURS)):
            product = _product(type_code, 100 * type_code + colour, colour=colour)
            drawn = _pixels(product)
            other = _pixels(replace(product, colour=(colour + 5) % len(COLOURS)))
            body = drawn[np.abs(drawn - other).max(axis=2) > 40]
            distance = np.linalg.norm(palette - np.median(body, axis=0), axis=1)
            right.append(int(distance.argmin()) == colour)
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("type_code", range(len(TYPES)), ids=lambda code: TYPES[code].name)
def test_colour_fills_a_visible_part_of_every_drawing(type_code: int) -> None:
    red, blue = (_pixels(_product(type_code, 7, colour=colour)) for colour in (5, 10))
    share = (np.abs(red - blue).max(axis=2) > 40).mean()
    assert share > 0.04


def test_shapes_of_a_type_are_drawn_differently() -> None:
    for type_code, kind in enumerate(TYPES):
        product = _product(type_code, 11)
        pictures = [_pixels(replace(product, shape=SHAPE_CODE[shape])) for shape in kind.shapes]
        for number, picture in enumerate(pictures):
            for other in pictures[:number]:
                assert (np.abs(picture - other).max(axis=2) > 30).mean() > 0.02, kind.name


def test_patterns_are_drawn_differently() -> None:
    curtain = next(code for code, kind in enumerate(TYPES) if kind.name == "curtain")
    pictures = [_pixels(_product(curtain, 3, pattern=code)) for code in range(len(PATTERNS))]
    for number, picture in enumerate(pictures):
        for other in pictures[:number]:
            assert (np.abs(picture - other).max(axis=2) > 30).mean() > 0.05


def test_pose_and_background_vary_between_products() -> None:
    pictures = [_pixels(_product(0, number)) for number in range(12)]
    corners = {tuple(np.round(picture[1, 1] / 8)) for picture in pictures}
    lefts = {
        int(np.flatnonzero(((p[..., 0] - p[..., 1]) > 90).any(axis=0))[0]) for p in pictures
    }  # where the red sofa begins
    assert len(corners) > 6
    assert len(lefts) > 4


@pytest.mark.parametrize("px", [32, 96, 224])
def test_photograph_is_a_jpeg_of_the_asked_size(px: int) -> None:
    data = photograph(sample_product(1, 2), seed=1, px=px, quality=88)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (px, px))


def test_resolution_changes_detail_not_content() -> None:
    product = _product(0, 4)
    small = draw_product(product, seed=1, px=48)
    large = draw_product(product, seed=1, px=96).resize((48, 48), Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, np.float32) - np.asarray(large, np.float32))
    assert difference.mean() < 14
