"""Query, judgement and product files as shops have them, for scoring a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.data.formats import FeedRow, read_rows
from mmr.data.text import as_text, clean_text
from mmr.errors import DataContractError
from mmr.evaluation.metrics import MAX_GRADE

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


def read_query_file(path: Path, *, split: str | None) -> pd.DataFrame:
    """Reads `query_id`, `query`, and `kind` and `split` where they are given.

    Args:
        path: CSV, TSV, JSONL or Parquet.
        split: Keeps the queries of this split alone; all of them when None.

    Returns:
        Columns `query_id`, `query`, `kind`; a query without a kind has "".

    Raises:
        DataContractError: A row lacks a value or repeats an id, or no query is left.
    """
    wanted = ("query_id", "query", *(("split",) if split else ()))
    first_seen: dict[str, int] = {}
    rows: list[tuple[str, str, str]] = []
    for row in read_rows(path):
        values = _required(row, wanted)
        query_id = values["query_id"]
        if query_id in first_seen:
            raise DataContractError(
                f"{path}:{row.line}: query_id {query_id!r} stands in line {first_seen[query_id]} "
                "already. Give every query an id of its own."
            )
        first_seen[query_id] = row.line
        if split is None or values["split"] == split:
            kind = clean_text(as_text(row.values.get("kind")))
            rows.append((query_id, values["query"], kind))
    if not first_seen:
        raise DataContractError(f"{path} holds no query. Give a file with at least one row.")
    if not rows:
        raise DataContractError(
            f"None of the {len(first_seen)} queries of {path} has the split {split!r}. "
            "Name another --split, or leave it out."
        )
    return pd.DataFrame(rows, columns=["query_id", "query", "kind"])


def read_judgement_file(path: Path) -> pd.DataFrame:
    """Reads `query_id`, `product_id` and `grade` (1 where there is none).

    Args:
        path: CSV, TSV, JSONL or Parquet.

    Returns:
        Columns `query_id`, `product_id`, `grade`; a judgement that stands twice is kept once.

    Raises:
        DataContractError: A row lacks a value, a grade is no grade, two rows contradict each
            other, or no row is there.
    """
    grades: dict[tuple[str, str], tuple[int, int]] = {}
    for row in read_rows(path):
        values = _required(row, ("query_id", "product_id"))
        grade = _grade(row)
        pair = (values["query_id"], values["product_id"])
        other, line = grades.setdefault(pair, (grade, row.line))
        if other != grade:
            raise DataContractError(
                f"{path}:{row.line}: grade is {grade}, but line {line} gives query {pair[0]} and "
                f"product {pair[1]} the grade {other}. Keep one of the two rows."
            )
    if not grades:
        raise DataContractError(f"{path} holds no judgement. Give a file with at least one row.")
    return pd.DataFrame(
        [(query, product, grade) for (query, product), (grade, _) in grades.items()],
        columns=["query_id", "product_id", "grade"],
    )


def read_product_list(path: Path) -> set[str]:
    """Reads product ids: the column `product_id` of a table, or else one id a line.

    Raises:
        DataContractError: The file is missing or not UTF-8, a row has no id, or no row is there.
    """
    if path.suffix.lower() in _TABLES:
        ids = {_required(row, ("product_id",))["product_id"] for row in read_rows(path)}
    else:
        ids = set(_lines(path))
    if not ids:
        raise DataContractError(f"{path} names no product. Give one product id a line.")
    return ids


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataContractError(f"{path} cannot be read ({error}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataContractError(f"{path} is not UTF-8 ({error}). Convert it first.") from error
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _required(row: FeedRow, names: tuple[str, ...]) -> dict[str, str]:
    """The named values as clean text, none of them empty."""
    if row.problem:
        raise DataContractError(f"{row.file}:{row.line}: {row.problem}. Correct the row.")
    values = {name: clean_text(as_text(row.values.get(name))) for name in names}
    for name, value in values.items():
        if name not in row.values:
            raise DataContractError(
                f"{row.file}:{row.line}: there is no column {name!r}, only "
                f"{', '.join(map(repr, row.values))}. Name the column {name!r}."
            )
        if not value:
            raise DataContractError(f"{row.file}:{row.line}: {name} is empty. Fill it in.")
    return values


def _grade(row: FeedRow) -> int:
    value: Any = row.values.get("grade")
    text = as_text(value).strip()
    if not text:
        return 1
    try:
        grade = float(text)
    except ValueError:
        grade = -1.0
    if grade not in range(MAX_GRADE + 1):
        raise DataContractError(
            f"{row.file}:{row.line}: grade is {text[:40]!r}, but grades are whole numbers from 0 "
            f"(irrelevant) to {MAX_GRADE}. Correct the row."
        )
    return int(grade)
