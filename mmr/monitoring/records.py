"""The query log, line by line: a record, or the reason why a line is none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0)]


class QueryRecord(BaseModel):
    """One query that was asked; docs/serving.md describes the fields.

    What older servers did not write is None; what newer ones add is passed over.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    time: AwareDatetime
    release_id: str
    route: Literal["live", "canary", "fallback"]
    query: str | None = None
    query_hash: str | None = None
    results: Count
    top_score: float | None
    latency_ms: float = Field(ge=0)
    share: float = Field(1.0, gt=0, le=1)
    bins: tuple[Count | None, ...] | None = None
    words: Count | None = None
    new_words: Count | None = None
    shown: tuple[str, ...] | None = None
    error: str | None = None

    @property
    def key(self) -> str | None:
        """What makes two records those of one query; None where the log tells neither."""
        return self.query if self.query is not None else self.query_hash


class DamagedLineError(ValueError):
    """A line of the log is no record; the text says why, without what stands in it."""


def parse_record(line: bytes) -> QueryRecord:
    """Reads one line.

    Raises:
        DamagedLineError: It is no record.
    """
    try:
        return QueryRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedLineError(f"{where}: {first['msg']}" if where else first["msg"]) from error
