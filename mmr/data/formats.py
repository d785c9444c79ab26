"""Reads CSV, TSV, JSONL and Parquet tables row by row, each row with its place in the file."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmr.errors import DataContractError

_PARQUET_ROWS = 256  # rows decoded at a time; with images inside, more would cost memory
_MAX_FIELD_CHARS = 16 << 20


@dataclass(frozen=True)
class FeedRow:
    """One row as the feed gives it.

    Attributes:
        file: The file it stands in.
        line: The line where it starts, from 1; in Parquet the number of the row, from 1.
        values: Column to value; empty when the row cannot be read.
        problem: Why the row cannot be read, else None.
    """

    file: Path
    line: int
    values: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class FeedScan:
    """What a first look at one file found.

    Attributes:
        columns: Column names, in the order of the file.
        skipped: Parquet columns of binary or nested binary type, which are no text.
        rows: Number of rows, unreadable ones included.
    """

    columns: list[str]
    skipped: list[str]
    rows: int


def read_rows(path: Path) -> Iterator[FeedRow]:
    """Reads a table from its first to its last row.

    Raises:
        DataContractError: The file is missing, of an unknown kind, not UTF-8, or damaged.
    """
    return _reader(path)(path)


def scan(path: Path) -> FeedScan:
    """Reads a table once for its columns and its number of rows.

    Raises:
        DataContractError: As `read_rows`.
    """
    if path.suffix.lower() == ".parquet":
        file = _open_parquet(path)
        schema = file.schema_arrow
        skipped = [field.name for field in schema if _holds_bytes(field.type)]
        return FeedScan(list(schema.names), skipped, file.metadata.num_rows)
    columns: dict[str, None] = {}
    if path.suffix.lower() in (".csv", ".tsv"):
        columns = dict.fromkeys(_csv_header(path))
    rows = 0
    for row in read_rows(path):
        rows += 1
        columns.update(dict.fromkeys(row.values))
    return FeedScan(list(columns), [], rows)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))


def _reader(path: Path) -> Callable[[Path], Iterator[FeedRow]]:
    readers: dict[str, Callable[[Path], Iterator[FeedRow]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if not path.is_file():
        raise DataContractError(f"{path} is missing or no file. Check the path.")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataContractError(
            f"{path} is of an unknown kind. Feeds are read from {', '.join(readers)} files."
        )
    return reader


def _text_lines(path: Path) -> Iterator[str]:
    """Yields decoded lines with their line ends; a UTF-8 byte order mark is dropped."""
    with path.open("rb") as file:
        offset = 0
        for number, raw in enumerate(file, start=1):
            if number == 1:
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataContractError(_not_utf8(path, 1, 0, "a UTF-16 byte order mark"))
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"the byte 0x{raw[error.start]:02x}"
                raise DataContractError(
                    _not_utf8(path, number, offset + error.start, found)
                ) from error
            offset += len(raw)
            yield line


def _not_utf8(path: Path, line: int, offset: int, found: str) -> str:
    return (
        f"{path}:{line} is not UTF-8: {found} stands at byte {offset} of the file. Convert it "
        f"first, for example: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8{path.suffix}"
    )


def _read_jsonl(path: Path) -> Iterator[FeedRow]:
    for number, line in enumerate(_text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield FeedRow(path, number, {}, f"the line is no JSON: {error}")
            continue
        if isinstance(value, dict):
            yield FeedRow(path, number, value)
        else:
            yield FeedRow(path, number, {}, f"the line is a {type(value).__name__}, not an object")


def _dialect(path: Path) -> str:
    """The delimiter: tab in .tsv; in .csv the one that the header uses."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = next(_text_lines(path), "")
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def _csv_records(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Yields (first line, cells), or (first line, problem) for a malformed record."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(_text_lines(path), delimiter=_dialect(path), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise DataContractError(
                    f"{path}:{line} opens a quoted value that never ends: every row after it is "
                    f'lost. Close the quote, or write a quote inside a value as "".'
                ) from error
            yield line, f"malformed CSV: {error}"
            continue
        if cells:
            yield line, cells


def _csv_header(path: Path) -> list[str]:
    _, header = next(_csv_records(path), (1, []))
    if isinstance(header, str):
        raise DataContractError(f"{path}:1 has no readable header: {header}. Correct line 1.")
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataContractError(
            f"{path}:1 names the column {repeated[0]!r} more than once. Rename one of them."
        )
    return names


def _read_csv(path: Path) -> Iterator[FeedRow]:
    columns = _csv_header(path)
    records = _csv_records(path)
    next(records, None)
    for line, cells in records:
        if isinstance(cells, str):
            yield FeedRow(path, line, {}, cells)
        elif len(cells) != len(columns):
            problem = f"the row has {len(cells)} values, but the header has {len(columns)} columns"
            yield FeedRow(path, line, {}, problem)
        else:
            yield FeedRow(path, line, dict(zip(columns, cells, strict=True)))


def _open_parquet(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise DataContractError(f"{path} is missing or no file. Check the path.")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataContractError(
            f"{path} is no whole Parquet file ({error}). Export or copy it again."
        ) from error


def _read_parquet(path: Path) -> Iterator[FeedRow]:
    number = 0
    try:
        for batch in _open_parquet(path).iter_batches(batch_size=_PARQUET_ROWS):
            for values in batch.to_pylist():
                number += 1
                yield FeedRow(path, number, values)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataContractError(
            f"{path} is damaged after row {number} ({error}). Export or copy it again."
        ) from error
