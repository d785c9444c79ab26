"""Slices: named sets of queries on which a candidate must not fall behind unseen.

Every slice but `kind=...` looks at a query's *relevant* products, those of its best grade:

- `kind=K`: the query asks for `K`, as the query log says.
- `sparse text`: the median product has no more words of title and description than the shortest
  quarter of the catalogue has. What is little text differs from shop to shop.
- `no image`: at least half of the products have no photograph.
- `cold start`: at least half of the products occur in no judgement of a train query.

Slices overlap. One without queries is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmr.evaluation.metrics import relevant_judgements


@dataclass(frozen=True)
class Slice:
    """A named set of queries.

    Attributes:
        name: As shown in reports.
        meaning: What its queries have in common, for people.
        query_ids: Its queries, in the order of the evaluation.
    """

    name: str
    meaning: str
    query_ids: list[str]


def slice_queries(
    queries: pd.DataFrame,
    *,
    judgements: pd.DataFrame,
    products: pd.DataFrame,
    sparse_text_share: float,
) -> list[Slice]:
    """Cuts the evaluated queries into slices.

    Args:
        queries: Columns `query_id`, `kind`.
        judgements: Columns `query_id`, `product_id`, `grade`.
        products: Indexed by product id: `words` (int), `has_image` (bool), `cold_start` (bool).
            Judged products that are missing here are passed over.
        sparse_text_share: Share of the catalogue whose text is sparse, the shortest texts first.
    """
    found = relevant_judgements(judgements).join(products, on="product_id", how="inner")
    by_query = found.groupby("query_id")
    sparse_words = int(products["words"].quantile(sparse_text_share, interpolation="lower"))
    return [
        *_by_kind(queries),
        *_where(
            "sparse text",
            f"the median relevant product has at most {sparse_words} words of text, as the "
            f"shortest {sparse_text_share:.0%} of the catalogue",
            queries=queries,
            holds=by_query["words"].median() <= sparse_words,
        ),
        *_where(
            "no image",
            "at least half of the relevant products have no photograph",
            queries=queries,
            holds=1 - by_query["has_image"].mean() >= 0.5,
        ),
        *_where(
            "cold start",
            "at least half of the relevant products occur in no train judgement",
            queries=queries,
            holds=by_query["cold_start"].mean() >= 0.5,
        ),
    ]


def product_facts(
    product_ids: Sequence[str],
    *,
    texts: Sequence[str],
    has_image: Sequence[bool],
    trained_on: set[str],
) -> pd.DataFrame:
    """What `slice_queries` needs to know of each product.

    Args:
        product_ids: The shop's ids.
        texts: Title and description of each product.
        has_image: Whether each product has a photograph.
        trained_on: Ids of the products that occur in a train judgement.
    """
    return pd.DataFrame(
        {
            "words": [len(text.split()) for text in texts],
            "has_image": pd.Series(list(has_image), dtype=bool),
            "cold_start": [product not in trained_on for product in product_ids],
        }
    ).set_index(pd.Index(list(product_ids), name="product_id"))


def _by_kind(queries: pd.DataFrame) -> list[Slice]:
    kinds = sorted({str(kind) for kind in queries["kind"] if kind})
    return [
        Slice(
            f"kind={kind}",
            f"queries of kind {kind}",
            queries.loc[queries["kind"] == kind, "query_id"].tolist(),
        )
        for kind in kinds
    ]


def _where(name: str, meaning: str, *, queries: pd.DataFrame, holds: pd.Series) -> list[Slice]:
    members = set(holds[holds].index)
    query_ids = [query for query in queries["query_id"] if query in members]
    return [Slice(name, meaning, query_ids)] if query_ids else []
