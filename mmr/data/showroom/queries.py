"""Queries from the true attributes, with graded judgements and a split.

An *intent* is a set of wanted attribute values (red, floral, cushion); a query is one wording of
it. All wordings of an intent share a split. Grade 2 has all wanted attributes, grade 1 the type and
all but one of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from mmr.config.showroom import ShowroomConfig
from mmr.data.showroom.products import ATTRIBUTES, Stream, product_id, stream
from mmr.data.showroom.vocabulary import (
    BRANDS,
    COLOURS,
    MATERIALS,
    PATTERNED_MATERIALS,
    PATTERNS,
    PLAIN,
    SERIES,
    SHAPES,
    TYPES,
)
from mmr.data.showroom.wording import normalise, word_query
from mmr.types import BoolArray, Int64Array

Codes = NDArray[np.uint8]
# What a query may ask for besides the type, by kind. Short templates serve small catalogues; in a
# large one they have too many relevant products, and the long ones take over.
TEMPLATES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "visual": (
        ("colour",),
        ("pattern",),
        ("shape",),
        ("colour", "pattern"),
        ("colour", "shape"),
        ("colour", "material"),
        ("pattern", "shape"),
        ("colour", "pattern", "shape"),
        ("colour", "pattern", "material", "shape"),
    ),
    "textual": (
        ("brand",),
        ("series",),
        ("material", "size"),
        ("brand", "size"),
        ("series", "size"),
        ("series", "material", "size"),
    ),
    "mixed": (
        ("brand", "colour"),
        ("series", "colour"),
        ("brand", "pattern"),
        ("colour", "size"),
        ("pattern", "size"),
        ("brand", "colour", "shape"),
        ("series", "colour", "pattern"),
        ("series", "colour", "shape", "size"),
    ),
}
_CARDINALITY = {
    "type": len(TYPES),
    "colour": len(COLOURS),
    "pattern": len(PATTERNS),
    "material": len(MATERIALS),
    "shape": len(SHAPES),
    "brand": len(BRANDS),
    "series": len(SERIES),
    "size": max(len(kind.sizes) for kind in TYPES),
}
_PATTERNED_TYPES = np.asarray(
    [not PATTERNED_MATERIALS.isdisjoint(kind.materials) for kind in TYPES]
)
_ROW = {name: row for row, name in enumerate(ATTRIBUTES)}
_CHUNK = 1 << 20  # products counted at a time: temporary arrays stay small
_WORDING_ATTEMPTS = 12
_PLAIN_ASKED = 0.25  # share of the possible intents for a plain thing that are considered


@dataclass(frozen=True)
class Intent:
    """What a shopper wants: codes by attribute name, `type` first."""

    kind: str
    wanted: Mapping[str, int]


@dataclass(frozen=True)
class QuerySet:
    """Queries and judgements in the columns of the dataset contract."""

    queries: pd.DataFrame
    judgements: pd.DataFrame


def make_queries(codes: Codes, cold_start: BoolArray, settings: ShowroomConfig) -> QuerySet:
    """Writes the queries of a catalogue and judges them.

    Args:
        codes: `(len(ATTRIBUTES), products)`, the products' codes.
        cold_start: `(products,)`, which products the train judgements must not name.
        settings: How many queries, of which kinds, with how many judgements.
    """
    rng = stream(settings.seed, 0, Stream.QUERIES)
    intents = choose_intents(codes, settings, rng)
    texts = _word_all(intents, settings.queries, rng)
    queries: list[dict[str, str]] = []
    found: list[tuple[Int64Array, NDArray[np.int32]]] = []
    for intent, split, wordings in zip(
        intents, _splits(len(intents), settings, rng), texts, strict=True
    ):
        products, grades = judge(codes, intent, ~cold_start if split == "train" else None)
        if split == "train" and not (grades == 2).any():  # all that it wants is new to the shop
            split = "test"
            products, grades = judge(codes, intent, None)
        products, grades = _bounded(products, grades, settings.judgements_max, rng)
        for text in wordings:
            query_id = f"q{len(queries):06d}"
            queries.append(
                {"query_id": query_id, "query": text, "kind": intent.kind, "split": split}
            )
            found.append((products, grades))
    return QuerySet(
        queries=pd.DataFrame(queries, columns=["query_id", "query", "kind", "split"]),
        judgements=_judgement_frame(found),
    )


def choose_intents(codes: Codes, settings: ShowroomConfig, rng: Generator) -> list[Intent]:
    """Intents that the catalogue can satisfy, each kind in its share, templates in turn.

    Those with two relevant products or more come first; a small catalogue falls back on one.
    """
    textual = round(settings.queries * settings.textual_queries)
    mixed = round(settings.queries * settings.mixed_queries)
    shares = {"visual": settings.queries - textual - mixed, "textual": textual, "mixed": mixed}
    chosen: list[Intent] = []
    for kind, count in shares.items():
        for fewest, most in ((2, settings.relevant_max), (1, 1)):
            missing = count - sum(intent.kind == kind for intent in chosen)
            pools = [
                _eligible(codes, kind, template, fewest, most, missing, rng)
                for template in TEMPLATES[kind]
            ]
            chosen += _in_turn(pools, missing)
    return chosen


def _eligible(
    codes: Codes,
    kind: str,
    template: tuple[str, ...],
    fewest: int,
    most: int,
    limit: int,
    rng: Generator,
) -> list[Intent]:
    """At most `limit` intents of a template with `fewest` to `most` relevant products."""
    names = ("type", *template)
    sizes = tuple(_CARDINALITY[name] for name in names)
    counts = np.zeros(int(np.prod(sizes)), np.int64)
    for start in range(0, codes.shape[1], _CHUNK):
        part = [codes[_ROW[name], start : start + _CHUNK].astype(np.int32) for name in names]
        counts += np.bincount(np.ravel_multi_index(part, sizes), minlength=len(counts))
    keys = np.flatnonzero((counts >= fewest) & (counts <= most))
    values = np.stack(np.unravel_index(keys, sizes), axis=1)
    if "pattern" in names:  # nobody asks for a plain desk, few for a plain rug
        patterned = values[:, names.index("pattern")] != PLAIN
        seldom = _PATTERNED_TYPES[values[:, 0]] & (rng.random(len(values)) < _PLAIN_ASKED)
        values = values[patterned | seldom]
    order = rng.permutation(len(values))[: max(0, limit)]
    return [
        Intent(kind, dict(zip(names, map(int, row), strict=True))) for row in values[order].tolist()
    ]


def _in_turn(pools: Sequence[list[Intent]], count: int) -> list[Intent]:
    """Takes one intent of each pool in turn until there are `count` or none is left."""
    taken: list[Intent] = []
    for place in range(max(map(len, pools), default=0)):
        taken += [pool[place] for pool in pools if place < len(pool)]
    return taken[: max(0, count)]


def _word_all(intents: Sequence[Intent], count: int, rng: Generator) -> list[list[str]]:
    """Wordings of each intent; several where the intents alone are fewer than `count`."""
    seen: set[str] = set()
    texts: list[list[str]] = [[] for _ in intents]
    progress = True
    while progress and len(seen) < count:
        progress = False
        for intent, wordings in zip(intents, texts, strict=True):
            text = _new_wording(intent, seen, rng) if len(seen) < count else None
            if text is not None:
                seen.add(normalise(text))
                wordings.append(text)
                progress = True
    return texts


def _new_wording(intent: Intent, seen: set[str], rng: Generator) -> str | None:
    candidates: Iterator[str] = (word_query(intent.wanted, rng) for _ in range(_WORDING_ATTEMPTS))
    return next((text for text in candidates if normalise(text) not in seen), None)


def _splits(count: int, settings: ShowroomConfig, rng: Generator) -> list[str]:
    """The splits of `count` intents, in their exact shares and a random order."""
    validation = round(count * settings.validation_share)
    test = min(round(count * settings.test_share), count - validation)
    names = ["validation"] * validation + ["test"] * test
    names += ["train"] * (count - len(names))
    return [names[place] for place in rng.permutation(count)]


def judge(
    codes: Codes, intent: Intent, allowed: BoolArray | None
) -> tuple[Int64Array, NDArray[np.int32]]:
    """All products that answer an intent, in catalogue order, and their grades (2 or 1).

    Args:
        codes: `(len(ATTRIBUTES), products)`.
        intent: What is wanted.
        allowed: `(products,)`, which products may be judged; all when None.
    """
    right_type = codes[_ROW["type"]] == intent.wanted["type"]
    products = np.flatnonzero(right_type if allowed is None else right_type & allowed)
    misses = np.zeros(len(products), np.int32)
    for name, code in intent.wanted.items():
        misses += codes[_ROW[name], products] != code
    near = misses <= 1
    return products[near], np.asarray(2 - misses[near], np.int32)


def _bounded(
    products: Int64Array, grades: NDArray[np.int32], most: int, rng: Generator
) -> tuple[Int64Array, NDArray[np.int32]]:
    """Keeps all grade-2 products and a random sample of the others, `most` in all."""
    partial = np.flatnonzero(grades == 1)
    full = np.flatnonzero(grades == 2)
    room = most - len(full)
    if len(partial) > room:
        partial = rng.choice(partial, size=room, replace=False)
    kept = np.sort(np.concatenate([full, partial]))
    return products[kept], grades[kept]


def _judgement_frame(found: Sequence[tuple[Int64Array, NDArray[np.int32]]]) -> pd.DataFrame:
    """One row per judgement; the query's place in `found` gives its id."""
    rows = [
        (f"q{place:06d}", product_id(int(number)), int(grade))
        for place, (products, grades) in enumerate(found)
        for number, grade in zip(products, grades, strict=True)
    ]
    return pd.DataFrame(rows, columns=["query_id", "product_id", "grade"])
