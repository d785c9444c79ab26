"""Document expansion: what shoppers called a product, for a text that does not say it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from mmr.data.dataset import Dataset
from mmr.data.text import normalise_query

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")

Expansions = Mapping[str, Sequence[str]]


def asked_words(dataset: Dataset, *, without: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """The words of the training queries that each product answers best.

    Only queries of the split `train` count, and of each only the products of its best grade: who
    asked for a white wardrobe did not call the brown ones white. What more queries say stands
    first, equal counts in the order of the queries.

    Args:
        dataset: A prepared dataset.
        without: Ids of queries that are left out, so that a query in training does not find its
            own words.

    Returns:
        Words by product id; a product that no query asked for has no entry.

    Source: document expansion by query prediction (arXiv:1904.08375), with queries that were asked
    in place of predicted ones.
    """
    queries = dataset.queries("train").set_index("query_id")["query"]
    said = {
        query_id: tuple(dict.fromkeys(_words(text)))
        for query_id, text in queries.items()
        if query_id not in without
    }
    counts: dict[str, Counter[str]] = {}
    for query_id, product_id in _best_judged(dataset):
        if query_id in said:
            counts.setdefault(product_id, Counter()).update(said[query_id])
    return {
        product_id: tuple(word for word, _ in counted.most_common())
        for product_id, counted in counts.items()
    }


def expanded_title(title: str, words: Sequence[str]) -> str:
    """A title followed by those of some words that it does not say, in their order.

    The words follow the title and not the description, so that a long one does not push them out
    of what an encoder reads.
    """
    return " ".join([title.strip(), *lacking_words(words, title)]).strip()


def lacking_words(words: Sequence[str], title: str) -> tuple[str, ...]:
    """Those of some words that a title does not say, in their order."""
    known = frozenset(_words(title))
    return tuple(word for word in words if word not in known)


def _words(text: str) -> list[str]:
    return _WORD.findall(normalise_query(text))


def _best_judged(dataset: Dataset) -> Sequence[tuple[str, str]]:
    """Query and product ids of the judgements of each training query's best grade."""
    judged: pd.DataFrame = dataset.judgements("train")
    best = judged.groupby("query_id")["grade"].transform("max")
    judged = judged[(judged["grade"] > 0) & (judged["grade"] == best)]
    return list(zip(judged["query_id"], judged["product_id"], strict=True))
