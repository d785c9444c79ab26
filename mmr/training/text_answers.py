"""Keeps what the text answers: titles are asked, and the text's own scores teach the fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmr.config.techniques import TextAnswerSettings
from mmr.training.query_text import COLOUR_WORDS, bare_word
from mmr.training.streams import Stream, random_stream
from mmr.types import Int64Array


@dataclass(frozen=True)
class AskedTitles:
    """What is asked in one step.

    Attributes:
        titles: `(titles,)`, rows of `TextAnswers.queries`.
        products: `(products,)`, rows of the catalogue, each once.
    """

    titles: Int64Array
    products: Int64Array


@dataclass(frozen=True)
class TextAnswers:
    """Queries made of titles, and what the texts alone answer to them.

    Attributes:
        queries: `(titles, hidden)`, features by the query's backbone.
        query_embeddings: `(titles, dim)`, unit length, by the towers that the stage starts from.
        text_embeddings: `(products, dim)`, unit length, of the texts alone, by the same towers.
        nearest: `(titles, depth)`, rows of the products whose texts answer a title best.
        settings: How many are asked in a step.
        seed: Of the whole run.
    """

    queries: Tensor
    query_embeddings: Tensor
    text_embeddings: Tensor
    nearest: Int64Array
    settings: TextAnswerSettings
    seed: int

    def draw(self, step: int) -> AskedTitles:
        """Some titles, and some of the nearest products of each."""
        random = random_stream(self.seed, Stream.ASKED, step)
        asked = min(self.settings.batch, len(self.nearest))
        titles = random.choice(len(self.nearest), size=asked, replace=False)
        places = random.random((asked, self.nearest.shape[1])).argsort(1)[:, : self.settings.drawn]
        products = np.take_along_axis(self.nearest[titles], places, 1)
        return AskedTitles(titles, np.unique(products))

    def scores(self, asked: AskedTitles) -> Tensor:
        """Cosines by the texts alone, `(titles, products)`."""
        device = self.text_embeddings.device
        titles = torch.from_numpy(asked.titles).to(device)
        products = torch.from_numpy(asked.products).to(device)
        return self.query_embeddings[titles] @ self.text_embeddings[products].T


def asked_titles(titles: Sequence[str], *, settings: TextAnswerSettings, seed: int) -> list[str]:
    """Titles as somebody asks for what no photograph answers: colours and some words left out.

    Args:
        titles: Of the products that may be asked for; empty ones are passed over.
        settings: How many are asked, and how many of their words.
        seed: Of the whole run.

    Returns:
        At most `settings.titles` queries, drawn from all titles; none of them empty.
    """
    shown = COLOUR_WORDS | {word.casefold() for word in settings.shown_words}
    random = random_stream(seed, Stream.TITLES, 0)
    queries: list[str] = []
    for row in random.permutation(len(titles)):
        words = [word for word in titles[row].split() if bare_word(word) not in shown]
        stays = random.random(len(words)) >= settings.drop
        left = [word for word, stay in zip(words, stays, strict=True) if stay] or words[:1]
        if left:
            queries.append(" ".join(left))
        if len(queries) == settings.titles:
            break
    return queries
