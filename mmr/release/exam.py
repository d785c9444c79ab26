"""The judged queries that a release was examined with, kept inside it.

A feed that brings products alone can so be examined with the queries of the release before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmr.errors import CorruptArtifactError

if TYPE_CHECKING:
    import pandas as pd

QUERIES_FILE, JUDGEMENTS_FILE = "queries.parquet", "judgements.parquet"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Exam:
    """Queries and what is relevant to them.

    Attributes:
        queries: Columns `query_id`, `query`, `kind`, `split`.
        judgements: Columns `query_id`, `product_id`, `grade`, `weight`, of those queries.
    """

    queries: pd.DataFrame
    judgements: pd.DataFrame

    @property
    def is_judged(self) -> bool:
        """Whether any product is relevant to any query."""
        return bool((self.judgements["grade"] > 0).any())

    def write(self, evidence: Path) -> None:
        """Writes both tables into a release under construction."""
        self.queries.to_parquet(evidence / QUERIES_FILE, index=False)
        self.judgements.to_parquet(evidence / JUDGEMENTS_FILE, index=False)

    @classmethod
    def read(cls, evidence: Path) -> Exam | None:
        """Reads the exam of a release; None where it keeps none.

        Raises:
            CorruptArtifactError: A table cannot be read.
        """
        import pandas as pd

        if not (evidence / QUERIES_FILE).is_file():
            return None
        try:
            return cls(
                pd.read_parquet(evidence / QUERIES_FILE),
                pd.read_parquet(evidence / JUDGEMENTS_FILE),
            )
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise CorruptArtifactError(
                f"{evidence} holds an exam that cannot be read ({error}). Restore the release from "
                "a copy."
            ) from error


def evenly(values: list[_T], count: int) -> list[_T]:
    """At most `count` of the values, spread over all of them."""
    if len(values) <= count:
        return values
    return [values[position * len(values) // count] for position in range(count)]
