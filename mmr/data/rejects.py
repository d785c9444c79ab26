"""Rows that a feed gives and the import refuses: written down, counted, limited."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mmr.errors import DataContractError

_SHOWN = 5  # rejected rows named in an error message
_GIVE_UP_ROWS = 1000  # past the limit, this many rejected rows are proof enough to stop reading


@dataclass(frozen=True)
class Reject:
    """One row refused.

    Attributes:
        file: The file it stands in.
        line: Line (Parquet: row), from 1.
        field: The field at fault; None for the row as a whole.
        reason: What is wrong, with the value.
        cure: What to do, where that is not plain from the reason.
    """

    file: Path
    line: int
    field: str | None
    reason: str
    cure: str | None = None

    def __str__(self) -> str:
        """The place, the field and the reason, for a message."""
        field = f"{self.field}: " if self.field else ""
        cure = f" ({self.cure})" if self.cure else ""
        return f"{self.file}:{self.line} {field}{self.reason}{cure}"


class RejectError(Exception):
    """Raised while one row is read; carries why it is refused. Never leaves the import."""

    def __init__(self, field: str | None, reason: str, cure: str | None = None) -> None:
        super().__init__(reason)
        self.field, self.reason, self.cure = field, reason, cure


class RejectLog:
    """Writes rejected rows to a JSONL file and holds each table to its limit.

    Args:
        path: The file to write.
        max_share: Share of a table's rows that may be rejected.
    """

    def __init__(self, path: Path, *, max_share: float) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._max_share = max_share
        self._first: dict[str, list[Reject]] = {}
        self.counts: dict[str, int] = {}
        self.dropped: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, table: str, reject: Reject, *, rows: int) -> None:
        """Records a rejected row of a table that has `rows` rows.

        Raises:
            DataContractError: So many rows are rejected already that reading on is pointless.
        """
        self._write(reject)
        self.counts[table] = self.counts.get(table, 0) + 1
        first = self._first.setdefault(table, [])
        if len(first) < _SHOWN:
            first.append(reject)
        if self.counts[table] >= max(_GIVE_UP_ROWS, self._max_share * rows + 1):
            self._stop(table, rows, at_least=True)

    def drop(self, table: str, reject: Reject) -> None:
        """Records a row that goes only because a row it refers to was rejected; not limited."""
        self._write(reject)
        self.dropped[table] = self.dropped.get(table, 0) + 1

    def check(self, table: str, *, rows: int) -> None:
        """Holds a table that was read to its end to the limit.

        Raises:
            DataContractError: More of its rows were rejected than allowed.
        """
        if self.counts.get(table, 0) > self._max_share * rows:
            self._stop(table, rows, at_least=False)

    def _write(self, reject: Reject) -> None:
        record = {
            "file": str(reject.file),
            "line": reject.line,
            "field": reject.field,
            "reason": reject.reason,
        }
        if reject.cure:
            record["cure"] = reject.cure
        self._file.write(json.dumps(record) + "\n")  # ASCII: a reason may quote broken text

    def _stop(self, table: str, rows: int, *, at_least: bool) -> None:
        count = self.counts[table]
        share = count / rows
        shown = "\n".join(f"  {reject}" for reject in self._first[table])
        more = f"\n  … and {count - _SHOWN:,} more" if count > _SHOWN else ""
        enough = min(1.0, math.ceil(share * 1000) / 1000)
        raise DataContractError(
            f"{'At least ' if at_least else ''}{count:,} of {rows:,} {table} rows are rejected "
            f"({share:.2%}; at most {self._max_share:.2%} may be). Nothing was written.\n"
            f"{shown}{more}\n"
            f"Correct these rows, or import without them: --max-rejects {enough:g}"
        )
