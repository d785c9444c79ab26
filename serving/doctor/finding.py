"""What the doctor says: one finding per thing looked at, with a cure where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; only an error makes `mmr doctor` fail."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: `environment`, `workspace`, `registry`, `releases` or `serving`.
        level: How bad it is.
        what: What was found, with the values.
        cure: What to do; None where nothing is wrong.
        repair: Does it, and says what it did; None where only a person can.
    """

    area: str
    level: Level
    what: str
    cure: str | None = None
    repair: Callable[[], str] | None = field(default=None, compare=False, repr=False)
