"""A rule of the gate's policy and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Reason:
    """One rule of the policy and what came of it.

    Attributes:
        rule: Its name, for example `floor ndcg_at_10`.
        passed: Whether it holds.
        detail: The values behind it, for people.
        otherwise: What the gate decides where it does not hold.
    """

    rule: str
    passed: bool
    detail: str
    otherwise: Literal["hold", "reject"]
