"""Turns a dataset on disk into the arrays that training and embedding read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from mmr.config.model import TextSettings, VisionSettings
from mmr.data.dataset import Dataset, Split
from mmr.data.decoding import photograph_shapes
from mmr.data.expansion import Expansions, asked_words, expanded_title
from mmr.data.framing import PHOTOGRAPHS_SEEN, Framing, trimmed_size
from mmr.data.pixels import decoded_pixels
from mmr.data.text import normalise_query
from mmr.errors import DataContractError
from mmr.evaluation.metrics import DEPTH, mean_metrics, query_metrics
from mmr.evaluation.ranking import exact_search
from mmr.models.colour import CELL
from mmr.models.text import product_text
from mmr.training.data import Catalogue, JudgedQueries
from mmr.training.figures import Figures
from mmr.training.shown_texts import ShownTexts, query_folds
from mmr.types import Float32Array, Int64Array, Photographs


def product_texts(dataset: Dataset, words: Expansions | None = None) -> list[str]:
    """Product texts in catalogue order; empty where a product has none.

    Args:
        dataset: A prepared dataset.
        words: Of document expansion; they follow the titles.
    """
    table = dataset.product_table(["product_id", "title", "description"])
    words = words or {}
    return [
        product_text(expanded_title(title or "", words.get(product_id, ())), description)
        for product_id, title, description in zip(
            *(table[name].to_pylist() for name in table.column_names), strict=True
        )
    ]


def words_for(settings: TextSettings, dataset: Dataset) -> Expansions | None:
    """The words of document expansion where a model's texts hold them, else None."""
    return asked_words(dataset) if settings.expansion else None


def framed(vision: VisionSettings, dataset: Dataset) -> VisionSettings:
    """How a new image tower is to see the photographs of a shop: without margins if asked.

    A network spends as long on white margins as on products.

    Args:
        vision: Settings of a tower that is not built yet.
        dataset: Whose first photographs tell their usual shape.
    """
    if not vision.trim or vision.fit != "pad" or vision.backbone != "config":
        return vision
    height, width = trimmed_size(
        photograph_shapes(dataset, most=PHOTOGRAPHS_SEEN),
        height=vision.height,
        width=vision.width,
        step=math.lcm(CELL, int(vision.architecture.get("patch_size", 1))),
    )
    return vision.model_copy(update={"height": height, "width": width})


def open_catalogue(
    dataset: Dataset,
    *,
    vision: VisionSettings | None,
    cache: Path,
    words: Expansions | None = None,
) -> Catalogue:
    """Opens all products for training or embedding.

    Args:
        dataset: A prepared dataset.
        vision: Size of the photographs; None leaves them out.
        cache: Decoded photographs are kept there.
        words: Of document expansion.
    """
    own_texts = product_texts(dataset)
    texts = product_texts(dataset, words) if words else own_texts
    pixels: Photographs | None = None
    has_image = np.zeros(len(texts), dtype=np.bool_)
    if vision is not None:
        pixels, has_image = decoded_pixels(
            dataset,
            height=vision.height,
            width=vision.width,
            cache=cache,
            framing=Framing(vision.fit, vision.resample),
        )
    _, groups = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    return Catalogue(
        texts=texts,
        own_texts=own_texts,
        has_text=np.asarray([bool(text) for text in texts]),
        has_image=has_image,
        pixels=pixels,
        pixels_key=f"{dataset.manifest.content_hash}-{vision}",
        text_groups=groups.astype(np.int64),
    )


def open_judged(dataset: Dataset, split: Split) -> JudgedQueries:
    """Queries of a split that have a relevant product, with their grades.

    Raises:
        DataContractError: The split has no such query.
    """
    judgements = dataset.judgements(split)
    judgements = judgements[judgements["grade"] > 0]
    queries = dataset.queries(split)
    queries = queries[queries["query_id"].isin(judgements["query_id"])].reset_index(drop=True)
    if queries.empty:
        raise DataContractError(
            f"{dataset.path} has no judged {split} queries, so nothing can be trained or proven. "
            "Import judgements.tsv with the feed, or give `mmr prepare` a larger share for it."
        )
    product_rows = pd.Series(np.arange(len(dataset)), index=dataset.product_ids())
    query_rows = pd.Series(np.arange(len(queries)), index=queries["query_id"])
    grades = csr_array(
        (
            judgements["grade"].to_numpy(np.int8),
            (
                query_rows[judgements["query_id"]].to_numpy(),
                product_rows[judgements["product_id"]].to_numpy(),
            ),
        ),
        shape=(len(queries), len(dataset)),
    )
    _, same_query = np.unique(queries["query"].map(normalise_query), return_inverse=True)
    return JudgedQueries(
        queries=queries["query"].tolist(),
        query_ids=queries["query_id"].tolist(),
        same_query=same_query.astype(np.int64),
        grades=grades,
    )


def shown_texts(
    settings: TextSettings,
    dataset: Dataset,
    catalogue: Catalogue,
    judged: JudgedQueries,
    *,
    folds: int,
    seed: int,
) -> ShownTexts:
    """Product texts as training queries may see them.

    Args:
        settings: Say whether product texts hold words of queries.
        dataset: Where catalogue and queries came from.
        catalogue: All products.
        judged: Training queries.
        folds: In how many parts of them.
        seed: Of the whole run.
    """
    fold_of = query_folds(judged, count=folds, seed=seed) if settings.expansion else None
    if fold_of is None:
        return ShownTexts(catalogue.texts)
    queries = np.asarray(judged.query_ids, dtype=object)
    shown = [
        product_texts(dataset, asked_words(dataset, without=set(queries[fold_of == fold])))
        for fold in range(int(fold_of.max()) + 1)
    ]
    return ShownTexts.parted(catalogue.texts, fold_of, shown)


@dataclass(frozen=True)
class ValidationScorer:
    """Scores embeddings on the validation queries.

    Attributes:
        queries: Validation query texts.
        products: Catalogue rows that are ranked: all, or a sample for encoders that are dear.
        score: Query embeddings `(queries, dim)`, product embeddings `(products, dim)` to figures.
    """

    queries: list[str]
    products: Int64Array
    score: Callable[[Float32Array, Float32Array], Figures]


def validation_scorer(dataset: Dataset, *, max_products: int | None = None) -> ValidationScorer:
    """Prepares the scorer.

    Args:
        dataset: A prepared dataset.
        max_products: Ranks against the judged products and a fixed sample up to this number.
    """
    judged = open_judged(dataset, "validation")
    judgements = dataset.judgements("validation")
    frame = dataset.queries("validation")
    frame = frame[frame["query_id"].isin(judgements.loc[judgements["grade"] > 0, "query_id"])]
    query_ids = frame["query_id"].tolist()
    rows = np.arange(len(dataset), dtype=np.int64)
    if max_products is not None and len(dataset) > max_products:
        relevant = np.unique(judged.grades.indices)
        others = np.setdiff1d(rows, relevant)
        sample = max(0, max_products - len(relevant))
        drawn = np.random.default_rng(0).choice(
            others, size=min(sample, len(others)), replace=False
        )
        rows = np.sort(np.concatenate([relevant, drawn])).astype(np.int64)
    all_ids = dataset.product_ids()
    product_ids = [all_ids[row] for row in rows]

    def score(queries: Float32Array, products: Float32Array) -> Figures:
        ranked, _ = exact_search(queries, products, DEPTH)
        metrics = query_metrics(
            ranked, query_ids=query_ids, product_ids=product_ids, judgements=judgements
        )
        return Figures.of(mean_metrics(metrics))

    return ValidationScorer(judged.queries, rows, score)
