"""What every system is asked on the validation queries, and what slices know of the products."""

from __future__ import annotations

import pandas as pd

from mmr.data.dataset import Dataset
from mmr.errors import DataContractError
from mmr.evaluation.slices import product_facts
from mmr.evaluation.systems import Task


def validation_task(data: Dataset) -> Task:
    """The judged validation queries over the whole catalogue.

    Raises:
        DataContractError: There is none.
    """
    task = Task.of(data.queries("validation"), data.judgements("validation"), data.product_ids())
    if not len(task.queries):
        raise DataContractError(
            f"{data.path} has no validation query with a relevant product, so nothing can be "
            "compared. Import judgements of validation queries, or let `mmr prepare` split."
        )
    return task


def catalogue_facts(data: Dataset) -> pd.DataFrame:
    """What `mmr.evaluation.slices.slice_queries` needs to know of each product."""
    # Of the image only its path is read: a struct keeps its own nulls whatever columns are read.
    table = data.product_table(["product_id", "title", "description", "image.path"])
    texts = zip(table["title"].to_pylist(), table["description"].to_pylist(), strict=True)
    return product_facts(
        table["product_id"].to_pylist(),
        texts=[f"{title or ''} {description or ''}" for title, description in texts],
        has_image=table["image"].is_valid().to_pylist(),
        trained_on=set(data.judgements("train")["product_id"]),
    )
