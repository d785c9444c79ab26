"""A shop's feed: which files it has, and which of their columns mean what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mmr.data.formats import FeedScan, scan
from mmr.errors import DataContractError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
# What shops often call a field; used to suggest a --map, never to guess silently.
_USUAL_NAMES = {
    "product_id": ("id", "sku", "item_id", "article_id", "asin", "g:id", "product", "pid"),
    "title": ("name", "product_name", "product_title", "g:title", "productDisplayName"),
    "query_id": ("qid", "id", "query-id"),
    "query": ("text", "search_term", "q", "query_text"),
    "image": ("image_path", "image_url", "img", "picture", "photo", "g:image_link"),
}


@dataclass(frozen=True)
class Feed:
    """The files of one feed.

    Attributes:
        products: One or more product files of the same kind, in order.
        queries: The query file, if any.
        judgements: The judgement file, if any.
    """

    products: list[Path]
    queries: Path | None
    judgements: Path | None


def find_feed(source: Path, *, queries: Path | None, judgements: Path | None) -> Feed:
    """Finds the files of a feed in a directory, or takes one product file.

    Raises:
        DataContractError: Nothing is there, or it is not clear which file is meant.
    """
    if not source.exists():
        raise DataContractError(f"There is no feed at {source}. Check the path.")
    if source.is_file():
        return Feed([source], queries, judgements)
    if (source / "dataset.json").is_file():
        raise DataContractError(
            f"{source} is a dataset already, not a feed. Go on with `mmr prepare {source}`."
        )
    whole = _candidates(source, "products")
    parts = sorted(p for p in source.glob("products-*") if p.suffix.lower() in SUFFIXES)
    if len(whole) > 1 or (whole and parts) or len({p.suffix.lower() for p in parts}) > 1:
        names = ", ".join(path.name for path in [*whole, *parts][:5])
        raise DataContractError(
            f"{source} has more than one set of product files ({names}). Keep one, or name the "
            "file itself as SOURCE."
        )
    if not whole and not parts:
        raise DataContractError(
            f"{source} has no product file. It needs products{{{','.join(SUFFIXES)}}} or "
            "products-*.parquet; or name the file itself as SOURCE."
        )
    return Feed(
        whole or parts,
        queries or _only(source, "queries"),
        judgements or _only(source, "judgements"),
    )


def _candidates(source: Path, stem: str) -> list[Path]:
    return [path for suffix in SUFFIXES if (path := source / f"{stem}{suffix}").is_file()]


def _only(source: Path, stem: str) -> Path | None:
    found = _candidates(source, stem)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataContractError(
            f"{source} has more than one file of {stem} ({names}). Choose one with --{stem} FILE."
        )
    return found[0] if found else None


@dataclass(frozen=True)
class Table:
    """The files of one table, looked at once.

    Attributes:
        name: `product`, `query` or `judgement`.
        files: Its files, in order.
        columns: Contract field to the feed's column, for the fields that the feed has.
        others: Columns that mean no field, in order.
        skipped: Columns left out: nameless, binary, or hidden by a mapped column.
        rows: Rows of all files together.
    """

    name: str
    files: list[Path]
    columns: dict[str, str]
    others: list[str]
    skipped: list[str]
    rows: int


def open_table(
    name: str,
    files: list[Path],
    *,
    fields: Iterable[str],
    required: Iterable[str],
    mapping: Mapping[str, str],
) -> Table:
    """Looks at the files of a table and finds the column of each field.

    Args:
        name: What one row is, for messages.
        files: The files, in order.
        fields: Every field that the table may have.
        required: The fields that it must have.
        mapping: Field to column, as given by --map. A mapped column that the table does not have
            falls back to the field's own name.

    Raises:
        DataContractError: A file cannot be read or a required column is missing.
    """
    scans = [scan(file) for file in files]
    names = dict.fromkeys(column for found in scans for column in found.columns)
    binary = {column for found in scans for column in found.skipped}
    columns = {}
    for field in fields:
        wanted = mapping.get(field, field)
        if wanted in names or field in names:
            columns[field] = wanted if wanted in names else field
    for field in required:
        for file, found in zip(files, scans, strict=True):
            if columns.get(field) not in found.columns and (found.rows or found.columns):
                raise DataContractError(_missing(file, field, found, mapping))
    used = set(columns.values())
    others = [c for c in names if c and c not in used and c not in binary and c not in columns]
    skipped = [c for c in names if c not in used and c not in others]
    return Table(name, files, columns, others, skipped, sum(found.rows for found in scans))


def _missing(file: Path, field: str, found: FeedScan, mapping: Mapping[str, str]) -> str:
    usual = [name for name in _USUAL_NAMES.get(field, ()) if name in found.columns]
    near = usual or get_close_matches(field, found.columns, n=1, cutoff=0.6)
    guess = near[0] if near else "COLUMN"
    wanted = mapping.get(field, field)
    named = f"{wanted!r} (mapped to {field})" if wanted != field else repr(field)
    return (
        f"{file} has no column {named}. Its columns are: {', '.join(found.columns[:30])}. "
        f"Say which one is meant: --map {field}={guess}"
    )


def check_mapping(mapping: Mapping[str, str], tables: Iterable[Table]) -> None:
    """Refuses a mapped column that no file has: most likely a spelling mistake.

    Raises:
        DataContractError: The column is in no table that has the field.
    """
    tables = list(tables)
    for field, column in mapping.items():
        if not any(table.columns.get(field) == column for table in tables):
            files = ", ".join(str(table.files[0]) for table in tables)
            raise DataContractError(
                f"--map {field}={column}: no file has a column {column!r} for {field} "
                f"(looked in {files}). Check the spelling."
            )
