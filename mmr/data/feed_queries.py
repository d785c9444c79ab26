"""Query and judgement rows of a feed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.data.dataset import JUDGEMENT_COLUMNS, QUERY_COLUMNS, SPLITS
from mmr.data.feed import Table
from mmr.data.feed_products import ProductCount, read_id
from mmr.data.formats import FeedRow, read_rows
from mmr.data.rejects import Reject, RejectError, RejectLog
from mmr.data.text import as_text, clean_text

QUERY_REQUIRED = ("query_id", "query")
JUDGEMENT_REQUIRED = ("query_id", "product_id")
_SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}


class RejectedReferenceError(RejectError):
    """The row refers to a row that was rejected itself."""


def read_queries(table: Table, *, log: RejectLog) -> tuple[pd.DataFrame, set[str]]:
    """Reads the queries; returns the accepted ones and the ids of the rejected ones."""
    first_seen: dict[str, int] = {}
    rejected: set[str] = set()
    rows: list[dict[str, Any]] = []

    def read(values: Mapping[str, Any], line: int) -> None:
        query_id = read_id("query_id", values["query_id"])
        if query_id in first_seen:
            raise RejectError(
                "query_id", f"{query_id!r} is taken already, by line {first_seen[query_id]}"
            )
        first_seen[query_id] = line
        rejected.add(query_id)
        query = clean_text(as_text(values["query"]))
        if not query:
            raise RejectError("query", "is empty")
        kind = clean_text(as_text(values.get("kind")))
        split = _read_split(values.get("split"))
        rows.append({"query_id": query_id, "query": query, "kind": kind, "split": split})
        rejected.discard(query_id)

    _for_each_row(table, read, log=log)
    return pd.DataFrame(rows, columns=list(QUERY_COLUMNS)), rejected


def read_judgements(
    table: Table,
    *,
    products: ProductCount,
    queries: pd.DataFrame,
    rejected_queries: set[str],
    max_grade: int,
    log: RejectLog,
) -> tuple[pd.DataFrame, int]:
    """Reads the judgements; returns the accepted ones and how many stood there twice.

    A judgement of a rejected product or query is dropped and recorded, but does not count as
    rejected: its cause was counted already.
    """
    query_ids = set(queries["query_id"])
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    rows: list[tuple[str, str, int, float]] = []
    repeated = 0

    def read(values: Mapping[str, Any], line: int) -> None:
        nonlocal repeated
        query_id = read_id("query_id", values["query_id"])
        product_id = read_id("product_id", values["product_id"])
        _check_reference("query_id", query_id, query_ids, rejected_queries)
        _check_reference("product_id", product_id, products.first_seen, products.rejected_ids)
        grade = _read_grade(values.get("grade"), max_grade)
        weight = _read_weight(values.get("weight"))
        other_grade, other_line = seen.setdefault((query_id, product_id), (grade, line))
        if other_grade != grade:
            raise RejectError("grade", f"is {grade}, but line {other_line} says {other_grade}")
        if other_line != line:
            repeated += 1
        else:
            rows.append((query_id, product_id, grade, weight))

    _for_each_row(table, read, log=log)
    return pd.DataFrame(rows, columns=list(JUDGEMENT_COLUMNS)), repeated


def _for_each_row(
    table: Table, read: Callable[[Mapping[str, Any], int], None], *, log: RejectLog
) -> None:
    for file in table.files:
        for row in read_rows(file):
            try:
                read(_values(row, table), row.line)
            except RejectedReferenceError as error:
                log.drop(table.name, _reject(file, row, error))
            except RejectError as error:
                log.add(table.name, _reject(file, row, error), rows=table.rows)


def _values(row: FeedRow, table: Table) -> dict[str, Any]:
    if row.problem:
        raise RejectError(None, row.problem)
    return {name: row.values.get(column) for name, column in table.columns.items()}


def _reject(file: Path, row: FeedRow, error: RejectError) -> Reject:
    return Reject(file, row.line, error.field, error.reason, error.cure)


def _check_reference(name: str, value: str, known: Any, rejected: set[str]) -> None:
    what = name.removesuffix("_id")
    if value in rejected:
        raise RejectedReferenceError(name, f"the {what} {value!r} was rejected")
    if value not in known:
        raise RejectError(
            name, f"{value!r} is no {what} of the feed", f"add the {what}, or delete the row"
        )


def _read_split(value: Any) -> str:
    text = as_text(value).strip().lower()
    if text and text not in _SPLIT_NAMES:
        raise RejectError("split", f"{text!r} is none of {', '.join(SPLITS)}")
    return _SPLIT_NAMES.get(text, "")


def _number(name: str, value: Any) -> float | None:
    text = as_text(value).strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RejectError(name, f"{text[:40]!r} is no number")
    return number


def _read_grade(value: Any, max_grade: int) -> int:
    grade = _number("grade", value)
    if grade is None:
        return 1
    if grade != int(grade) or not 0 <= grade <= max_grade:
        raise RejectError("grade", f"{grade:g} is no whole number from 0 to {max_grade}")
    return int(grade)


def _read_weight(value: Any) -> float:
    weight = _number("weight", value)
    if weight is None:
        return 1.0
    if weight <= 0:
        raise RejectError("weight", f"{weight:g} is not above 0")
    return weight
