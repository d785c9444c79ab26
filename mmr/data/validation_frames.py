"""The columns that the checks read, computed from a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmr.data.dataset import COLD_START, Dataset
from mmr.data.images import ImageLimits, ImageProblemError, map_in_order
from mmr.data.sound_images import SoundImages
from mmr.data.text import normalise_query
from mmr.data.validation_checks import CheckTable
from mmr.progress import progress_bar

_LIMITS = ImageLimits(max_bytes=2**40, max_pixels=89_000_000)


def dataset_frames(dataset: Dataset, images: SoundImages) -> dict[CheckTable, pd.DataFrame]:
    """One frame per table, one row per row of the dataset; images are decoded unless known."""
    products = dataset.product_table().to_pandas()
    queries, judgements = dataset.queries(), dataset.judgements()
    return {
        "product": _product_frame(dataset, products, images),
        "query": _query_frame(queries),
        "judgement": _judgement_frame(judgements, products, queries),
        "dataset": _dataset_frame(products, queries, judgements),
    }


def _empty_as_null(texts: pd.Series[Any]) -> pd.Series[Any]:
    return texts.astype(object).where(texts.fillna("").str.strip() != "", None)


def _text_chars(products: pd.DataFrame) -> pd.Series[Any]:
    chars: pd.Series[Any] = products["title"].fillna("").str.len()
    return chars + products["description"].fillna("").str.len()


def _product_frame(dataset: Dataset, products: pd.DataFrame, images: SoundImages) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "product_id": _empty_as_null(products["product_id"]),
            "title": _empty_as_null(products["title"]),
            "text_chars": _text_chars(products),
        }
    )
    frame["has_text"] = frame["text_chars"] > 0
    has_image, problems, sizes = _look_at_images(dataset, images)
    frame["has_image"] = np.array(has_image, dtype=bool)
    frame["image_problem"] = pd.Series(problems, dtype=object)
    # Without an image NaN, which the bounds pass over.
    frame["shorter_px"] = np.array([min(size) if size else np.nan for size in sizes], dtype=float)
    frame["longer_px"] = np.array([max(size) if size else np.nan for size in sizes], dtype=float)
    return frame


def _look_at_images(
    dataset: Dataset, known: SoundImages
) -> tuple[list[bool], list[str | None], list[tuple[int, int] | None]]:
    def look(image: dict[str, Any] | None) -> tuple[bool, str | None, tuple[int, int] | None]:
        if image is None or image["bytes"] is None:
            return False, None, None
        try:
            return True, None, known.size_of(image["bytes"], _LIMITS)
        except ImageProblemError as error:
            return True, f"the image {error}", None

    has_image, problems, sizes = [], [], []
    images = (
        image
        for batch in dataset.product_batches(["image"])
        for image in batch.column(0).to_pylist()
    )
    with progress_bar("validate images", len(dataset)) as bar:
        for present, problem, size in map_in_order(look, images):
            has_image.append(present)
            problems.append(problem)
            sizes.append(size)
            bar.advance()
    return has_image, problems, sizes


def _query_frame(queries: pd.DataFrame) -> pd.DataFrame:
    frame = queries.astype(object)
    for column in ("query_id", "query"):
        frame[column] = _empty_as_null(queries[column])
    frame["split"] = queries["split"].astype(object).fillna("")
    texts = queries["query"].fillna("")
    frame["query_chars"] = texts.str.len().astype(int)
    normalised = texts.map(normalise_query)
    frame["splits_of_query"] = frame["split"].groupby(normalised).transform("nunique").astype(int)
    return frame


def _judgement_frame(
    judgements: pd.DataFrame, products: pd.DataFrame, queries: pd.DataFrame
) -> pd.DataFrame:
    frame = judgements.copy()
    frame["query_known"] = frame["query_id"].isin(queries["query_id"])
    frame["product_known"] = frame["product_id"].isin(products["product_id"])
    frame["pair"] = frame["query_id"].astype(str) + "\t" + frame["product_id"].astype(str)
    frame["cold_start_in_train"] = False
    if COLD_START in products:
        declared = products[COLD_START].astype("boolean").fillna(False).astype(bool)
        cold = products.loc[declared, "product_id"]
        train = queries.loc[queries["split"] == "train", "query_id"]
        frame["cold_start_in_train"] = frame["query_id"].isin(train) & frame["product_id"].isin(
            cold
        )
    return frame


def _dataset_frame(
    products: pd.DataFrame, queries: pd.DataFrame, judgements: pd.DataFrame
) -> pd.DataFrame:
    relevant = judgements[judgements["grade"] > 0]
    splits = relevant.merge(queries[["query_id", "split"]], on="query_id")["split"]
    return pd.DataFrame(
        {
            "products": [len(products)],
            "train_judgements": [int((splits == "train").sum())],
            "validation_judgements": [int((splits == "validation").sum())],
        }
    )


def compare(dataset: Dataset, previous: Dataset) -> pd.DataFrame:
    """How a dataset differs from the one before it: one row, one measure per column.

    A table that was empty before has no ratio of rows and is left out.
    """
    now, before = dataset.manifest, previous.manifest
    measures: dict[str, float] = {}
    for table in ("products", "queries", "judgements"):
        if getattr(before, table):
            measures[f"row_ratio_{table}"] = getattr(now, table) / getattr(before, table)
    rows, rows_before = dataset.product_table().to_pandas(), previous.product_table().to_pandas()
    for column in [name for name in rows if name in rows_before and name != "product_id"]:
        rise = _null_share(rows[column]) - _null_share(rows_before[column])
        measures[f"null_share_increase_{column}"] = rise
    length = _text_chars(rows_before).mean()
    if length:
        measures["text_length_change"] = float(_text_chars(rows).mean() / length - 1)
    coverage, coverage_before = (1 - m.products_without_image / m.products for m in (now, before))
    measures["image_coverage_drop"] = coverage_before - coverage
    return pd.DataFrame([measures])


def _null_share(values: pd.Series[Any]) -> float:
    return float((values.isna() | (values.astype(str).str.strip() == "")).mean())
