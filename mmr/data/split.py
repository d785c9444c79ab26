"""Splits queries without leaks, and keeps some products for the cold start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pandas as pd

from mmr.config.data import PrepareConfig
from mmr.data.dataset import SPLITS, Split
from mmr.data.text import normalise_query

__all__ = ["cold_start_ids", "judged_only_outside_train", "normalise_query", "split_queries"]


def split_queries(queries: Sequence[str], settings: PrepareConfig) -> list[Split]:
    """Gives each query a split, so that equal normalised queries share one.

    The place of a query depends on its text and the seed alone: when the log grows, what was in
    train stays in train. Shares are therefore met on average, not exactly; but no split with a
    share above 0 stays empty where there are enough different queries.
    """
    shares = (settings.train_share, settings.validation_share, settings.test_share)
    keys = sorted(
        {normalise_query(query) for query in queries},
        key=lambda key: _position(key, settings.seed, "split"),
    )
    places: dict[str, Split] = {}
    for key in keys:
        places[key] = _split_at(_position(key, settings.seed, "split"), shares)
    _fill_empty_splits(keys, places, shares)
    return [places[normalise_query(query)] for query in queries]


def _position(key: str, seed: int, purpose: str) -> float:
    digest = hashlib.sha256(f"{purpose}\0{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56  # in [0, 1), exact in a float


def _split_at(position: float, shares: Sequence[float]) -> Split:
    end = 0.0
    for split, share in zip(SPLITS, shares, strict=True):
        end += share
        if position < end:
            return split  # type: ignore[return-value]  # SPLITS holds the literals
    return [s for s, share in zip(SPLITS, shares, strict=True) if share][-1]  # type: ignore[return-value]


def _fill_empty_splits(
    keys: Sequence[str], places: dict[str, Split], shares: Sequence[float]
) -> None:
    """Moves one query into each split that a tiny log left empty; `keys` by position."""
    for split, share in zip(SPLITS, shares, strict=True):
        members: list[str] = list(places.values())
        if not share or split in members:
            continue
        fullest = max(SPLITS, key=members.count)
        if members.count(fullest) > 1:
            chosen = [key for key in keys if places[key] == fullest][-1]
            places[chosen] = split  # type: ignore[assignment]


def cold_start_ids(
    product_ids: Sequence[str], titles: Sequence[str], settings: PrepareConfig
) -> set[str]:
    """Chooses the products to keep out of train: whole groups of equal normalised titles.

    Products without a title are groups of their own.
    """
    chosen = set()
    for product_id, title in zip(product_ids, titles, strict=True):
        group = normalise_query(title) or f"\0{product_id}"
        if _position(group, settings.seed, "cold start") < settings.cold_start_share:
            chosen.add(product_id)
    return chosen


def judged_only_outside_train(judgements: pd.DataFrame, train_queries: Iterable[str]) -> set[str]:
    """Products that are judged, but by no train query.

    Args:
        judgements: Columns `query_id` and `product_id`.
        train_queries: Ids of the train queries.
    """
    in_train = judgements["query_id"].isin(set(train_queries))
    return set(judgements["product_id"]) - set(judgements.loc[in_train, "product_id"])
