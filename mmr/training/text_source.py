"""Where text features come from: kept ones of a frozen backbone, or a backbone that learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mmr.config.model import TextSettings
from mmr.models.text import TextEncoder
from mmr.training.shown_texts import ShownTexts
from mmr.types import Int64Array


class TextSource(Protocol):
    """Backbone features by row, before any head."""

    def queries(self, rows: Int64Array, wordings: Int64Array | None = None) -> Tensor:
        """Features of some training queries, `(rows, hidden)`.

        Args:
            rows: `(rows,)`.
            wordings: `(rows,)`, 0 for a query's own, from 1 for another; None for all their own.
        """

    def products(self, rows: Int64Array, *, fold: int | None = None) -> Tensor:
        """Features of some product texts, `(rows, hidden)`.

        Args:
            rows: `(rows,)`.
            fold: Of the queries that see them (`mmr.training.shown_texts`); None for the
                catalogue's own.
        """


class KeptText:
    """Features computed once with a frozen backbone.

    Args:
        queries: `(queries, hidden)`.
        products: `(texts, hidden)`, of the catalogue's texts and of those that stand in for them.
        wordings: Features of other wordings of the queries, each `(queries, hidden)`.
        places: `(2, products)`, see `ShownTexts`.
    """

    def __init__(
        self,
        queries: Tensor,
        products: Tensor,
        wordings: Sequence[Tensor] = (),
        *,
        places: Int64Array | None = None,
    ) -> None:
        self._count, self._products, self._places = len(queries), products, places
        self._queries = torch.cat([queries, *wordings]) if wordings else queries

    def queries(self, rows: Int64Array, wordings: Int64Array | None = None) -> Tensor:
        """See `TextSource`."""
        places = rows if wordings is None else rows + wordings * self._count
        return self._queries[torch.from_numpy(places).to(self._queries.device)]

    def products(self, rows: Int64Array, *, fold: int | None = None) -> Tensor:
        """See `TextSource`."""
        places = _shown(rows, self._places, fold)
        return self._products[torch.from_numpy(places).to(self._products.device)]


class LearningText:
    """Features of a backbone that is being trained.

    Args:
        encoder: The backbone that reads products.
        query_encoder: The backbone that reads queries, the same or one of their own.
        queries: Texts, tokenised once here.
        products: Those of the catalogue, and those that stand in for them.
        settings: Prefixes and lengths.
        wordings: Other wordings of the queries, each a list of all.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        query_encoder: TextEncoder,
        queries: Sequence[str],
        products: ShownTexts,
        settings: TextSettings,
        wordings: Sequence[Sequence[str]] = (),
    ) -> None:
        self._encoder, self._query_encoder = encoder, query_encoder
        self._count = len(queries)
        asked = [settings.query_prefix + query for texts in (queries, *wordings) for query in texts]
        told = [settings.product_prefix + product for product in products.texts]
        self._query_tokens = _tokens(query_encoder, asked, settings.max_query_tokens)
        self._places = products.places
        self._product_tokens = _tokens(encoder, told, settings.max_product_tokens)
        self._pad = int(encoder.tokenizer.pad_token_id or 0)

    def queries(self, rows: Int64Array, wordings: Int64Array | None = None) -> Tensor:
        """See `TextSource`."""
        places = rows if wordings is None else rows + wordings * self._count
        return self._encode(self._query_encoder, [self._query_tokens[place] for place in places])

    def products(self, rows: Int64Array, *, fold: int | None = None) -> Tensor:
        """See `TextSource`."""
        places = _shown(rows, self._places, fold)
        return self._encode(self._encoder, [self._product_tokens[place] for place in places])

    def _encode(self, encoder: TextEncoder, tokens: Sequence[Int64Array]) -> Tensor:
        longest = max(len(row) for row in tokens)
        ids = np.full((len(tokens), longest), self._pad, dtype=np.int64)
        mask = np.zeros((len(tokens), longest), dtype=np.int64)
        for position, row in enumerate(tokens):
            ids[position, : len(row)] = row
            mask[position, : len(row)] = 1
        device = next(encoder.parameters()).device
        features: Tensor = encoder(
            torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
        )
        return features


def _shown(rows: Int64Array, places: Int64Array | None, fold: int | None) -> Int64Array:
    """Where the texts of some products stand for the queries of a fold."""
    return rows if places is None or fold is None else places[fold][rows]


def _tokens(encoder: TextEncoder, texts: Sequence[str], limit: int) -> list[Int64Array]:
    rows = encoder.tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
    return [np.asarray(row, dtype=np.int64) for row in rows]
