"""Product texts as the queries in training may see them: without words that they brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmr.training.data import JudgedQueries
from mmr.training.streams import Stream, random_stream
from mmr.types import Int64Array


@dataclass(frozen=True)
class ShownTexts:
    """The texts of all products, and those that stand in for them in training.

    Where product texts hold the words of training queries, a query would find its products by its
    own words and learn nothing of other queries. So the queries are parted in folds, a batch is of
    one fold, and shows product texts with the words of the others alone.

    Attributes:
        texts: Those of the catalogue, row by row; then those that differ for a fold.
        folds: `(queries,)`, from 0; None where all queries may see the catalogue's texts.
        places: `(folds, products)`, where in `texts` the text of a product stands for each fold.
    """

    texts: list[str]
    folds: Int64Array | None = None
    places: Int64Array | None = None

    @property
    def products(self) -> int:
        """How many products the catalogue has."""
        return len(self.texts) if self.places is None else self.places.shape[1]

    @classmethod
    def parted(
        cls, texts: Sequence[str], folds: Int64Array, shown: Sequence[Sequence[str]]
    ) -> ShownTexts:
        """Puts together what is shown to each fold.

        Args:
            texts: `(products,)`, the catalogue's.
            folds: `(queries,)`, from 0.
            shown: For each fold `(products,)`, the texts that its queries may see.
        """
        every = list(texts)
        places = np.tile(np.arange(len(texts), dtype=np.int64), (len(shown), 1))
        for fold, others in enumerate(shown):
            for row, (text, other) in enumerate(zip(texts, others, strict=True)):
                if other != text:
                    places[fold, row] = len(every)
                    every.append(other)
        return cls(every, folds, places)


def query_folds(judged: JudgedQueries, *, count: int, seed: int) -> Int64Array | None:
    """Parts queries in folds, the same query in another spelling in the same one.

    Args:
        judged: The queries.
        count: How many folds. With few, texts in training miss many of the words they have later.
        seed: Of the whole run.

    Returns:
        `(queries,)`, from 0, no fold empty; None where all queries are the same one.
    """
    different = int(judged.same_query.max()) + 1
    if different < 2:
        return None
    order = random_stream(seed, Stream.FOLDS, 0).permutation(different)
    fold: Int64Array = (order % count)[judged.same_query].astype(np.int64)
    return fold
