"""Other wordings of training queries: words dropped, words that change places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmr.config.techniques import QueryTextSettings
from mmr.training.streams import Stream, random_stream
from mmr.types import Int64Array

# English, as the demo catalogue and the usual feeds have them; further ones are a setting.
_COLOURS = """
amber aqua azure beige black blue blush bordeaux bronze brown burgundy camel champagne charcoal
chestnut chocolate cobalt copper coral cream crimson cyan dark ecru emerald fuchsia gold golden
gray green grey indigo ivory khaki lavender lemon light lilac lime magenta maroon mauve mint
multicolor multicolour multicoloured mustard navy nude ochre olive orange peach petrol pink plum
purple red rose rust sage salmon sand scarlet silver skin tan tangerine taupe teal terracotta
turquoise violet white wine yellow
"""
COLOUR_WORDS = frozenset(_COLOURS.split())


def wordings(queries: Sequence[str], *, settings: QueryTextSettings, seed: int) -> list[list[str]]:
    """Other wordings of all training queries, by seed and row alone.

    Shoppers leave words out and put them in any order. Colour is what the photograph answers, so a
    query keeps its colour words; and it keeps one word at least.

    Args:
        queries: Training queries.
        settings: How many, and how far from the query.
        seed: Of the whole run.

    Returns:
        `settings.wordings` lists, each with one wording of every query.
    """
    kept = COLOUR_WORDS | {word.casefold() for word in settings.kept_words}
    streams = [random_stream(seed, Stream.WORDINGS, row) for row in range(len(queries))]
    return [
        [
            _reworded(query.split(), kept, settings, random)
            for query, random in zip(queries, streams, strict=True)
        ]
        for _ in range(settings.wordings)
    ]


def drawn_wordings(
    queries: Int64Array, *, settings: QueryTextSettings, seed: int, step: int
) -> Int64Array:
    """Which wording each query of a batch has, `(queries,)`: 0 its own, from 1 another."""
    random = random_stream(seed, Stream.DRAWN_WORDINGS, step)
    other = random.random(len(queries)) < settings.share
    return np.where(other, random.integers(1, settings.wordings + 1, len(queries)), 0)


def bare_word(word: str) -> str:
    """A word without the signs around it, in small letters."""
    return word.strip(".,;:!?()\"'").casefold()


def _reworded(
    words: list[str], kept: frozenset[str], settings: QueryTextSettings, random: np.random.Generator
) -> str:
    stays = random.random(len(words)) >= settings.drop
    left = [
        word for word, stay in zip(words, stays, strict=True) if stay or bare_word(word) in kept
    ]
    if not left and words:
        left = [words[int(random.integers(len(words)))]]
    for place in range(len(left) - 1):
        if random.random() < settings.swap:
            left[place], left[place + 1] = left[place + 1], left[place]
    return " ".join(left)
