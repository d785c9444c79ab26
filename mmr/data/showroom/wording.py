"""How shoppers word what they want."""

from __future__ import annotations

import re
from collections.abc import Mapping

from numpy.random import Generator

from mmr.data.showroom.products import pick
from mmr.data.showroom.vocabulary import (
    BRANDS,
    COLOURS,
    MATERIALS,
    PATTERNS,
    SERIES,
    SHAPES,
    TYPES,
)

_PATTERN_PHRASES = {
    "plain": "without pattern",
    "striped": "with stripes",
    "checked": "with checks",
    "dotted": "with dots",
    "floral": "with flowers",
    "zigzag": "with a zigzag pattern",
    "geometric": "with a geometric print",
}
_BEFORE = ("size", "shape", "colour", "pattern", "material")  # in the order of natural English


def word_query(wanted: Mapping[str, int], rng: Generator) -> str:
    """One wording of an intent: synonyms and order vary.

    Args:
        wanted: Attribute name to vocabulary code; `type` is always there.
        rng: Chooses the wording.
    """
    words = {name: _value(name, code, wanted["type"], rng) for name, code in wanted.items()}
    tail: list[str] = []
    if "pattern" in words and rng.random() < 0.25:
        del words["pattern"]
        tail.append(_PATTERN_PHRASES[PATTERNS[wanted["pattern"]][0]])
    if "material" in words and rng.random() < 0.3:
        del words["material"]
        tail.insert(0, f"in {MATERIALS[wanted['material']][0]}")
    before = [words[name] for name in _BEFORE if name in words]
    if rng.random() < 0.12:
        before, tail = [], [*before, *tail]  # "rug red round"
    elif "size" in words and rng.random() < 0.6:
        before, tail = before[1:], [*tail, words["size"]]
    maker = [words[name] for name in ("brand", "series") if name in words]
    if maker and rng.random() < 0.2 and "brand" in words:
        return " ".join([*before, words["type"], *tail, "by", *maker])
    return " ".join([*maker, *before, words["type"], *tail])


def _value(name: str, code: int, type_code: int, rng: Generator) -> str:
    if name == "size":
        return TYPES[type_code].sizes[code]
    if name == "brand":
        return BRANDS[code][0].lower()
    if name == "series":
        return SERIES[code][0].lower()
    words = {
        "type": lambda: TYPES[code].words,
        "colour": lambda: COLOURS[code].words,
        "pattern": lambda: PATTERNS[code],
        "material": lambda: MATERIALS[code],
        "shape": lambda: SHAPES[code],
    }[name]()
    return words[0] if rng.random() < 0.65 else pick(rng, words)


def normalise(query: str) -> str:
    """The form in which two queries count as the same: lower case, words in alphabetical order."""
    return " ".join(sorted(re.findall(r"\w+", query.lower())))
