"""The true attributes of a generated product, each drawn from the product's own random stream."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from mmr.data.showroom.vocabulary import (
    COLOURS,
    MATERIAL_CODE,
    MATERIALS,
    PATTERNED_MATERIALS,
    PATTERNS,
    PLAIN,
    PLAIN_SHARE,
    SERIES,
    SHAPE_CODE,
    SHAPES,
    TYPES,
    ProductType,
)

T = TypeVar("T")


class Stream(IntEnum):
    """The random streams of a product: changing how text is written repaints no photograph."""

    ATTRIBUTES = 0
    TEXT = 1
    IMAGE = 2
    COVERAGE = 3
    QUERIES = 4


def stream(seed: int, number: int, kind: Stream) -> Generator:
    """The random numbers for one purpose of one product (or of the catalogue)."""
    return np.random.default_rng([seed, number, int(kind)])


def pick(rng: Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Product:
    """What a product truly is, as codes into the vocabulary.

    Attributes:
        number: Position in the catalogue.
        type, colour, pattern, material, shape, series: Vocabulary codes.
        size: Position in the sizes of its type.
    """

    number: int
    type: int
    colour: int
    pattern: int
    material: int
    shape: int
    series: int
    size: int

    @property
    def product_id(self) -> str:
        return product_id(self.number)

    @cached_property
    def kind(self) -> ProductType:
        return TYPES[self.type]

    @property
    def brand_name(self) -> str:
        return SERIES[self.series][1]

    @property
    def series_name(self) -> str:
        return SERIES[self.series][0]

    @property
    def size_label(self) -> str:
        return self.kind.sizes[self.size]

    @property
    def codes(self) -> tuple[int, ...]:
        """The attributes in the order of `ATTRIBUTES`, each below 256."""
        return (
            self.type, self.colour, self.pattern, self.material, self.shape,
            self.series // _SERIES_PER_BRAND, self.series, self.size,
        )  # fmt: skip

    def truth(self) -> dict[str, str]:
        """The free dataset attributes: `true_type`, `true_colour` and so on."""
        return {
            "true_type": self.kind.name,
            "true_colour": COLOURS[self.colour].words[0],
            "true_pattern": PATTERNS[self.pattern][0],
            "true_material": MATERIALS[self.material][0],
            "true_shape": SHAPES[self.shape][0],
            "true_brand": self.brand_name,
            "true_series": self.series_name,
            "true_size": self.size_label,
        }


ATTRIBUTES = ("type", "colour", "pattern", "material", "shape", "brand", "series", "size")
_SERIES_PER_BRAND = 3
_COLOUR_STEPS = list(accumulate(colour.weight for colour in COLOURS))


def product_id(number: int) -> str:
    """The shop's id of the product at a position of the catalogue."""
    return f"sr{number:08d}"


def sample_product(seed: int, number: int) -> Product:
    """Draws the product at one position; it depends on nothing but the two numbers."""
    rng = stream(seed, number, Stream.ATTRIBUTES)
    type_code = int(rng.integers(len(TYPES)))
    kind = TYPES[type_code]
    material = pick(rng, kind.materials)
    patterned = rng.random() >= PLAIN_SHARE and material in PATTERNED_MATERIALS
    return Product(
        number=number,
        type=type_code,
        colour=bisect_right(_COLOUR_STEPS, rng.random() * _COLOUR_STEPS[-1]),
        pattern=int(rng.integers(1, len(PATTERNS))) if patterned else PLAIN,
        material=MATERIAL_CODE[material],
        shape=SHAPE_CODE[pick(rng, kind.shapes)],
        series=int(rng.integers(len(SERIES))),
        size=int(rng.integers(len(kind.sizes))),
    )


def is_cold_start(seed: int, product: Product, share: float) -> bool:
    """Whether the product's whole group (one series, one type) is new to the shop.

    All products of a group share the answer, which needs no knowledge of the other products.
    """
    key = f"{seed}/{product.series}/{product.type}".encode()
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=6).digest(), "big")
    return draw < share * 2**48
