"""Settings that the live model reads while it runs; written by commands, read within a second."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from mmr.config.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class QueryText(StrEnum):
    """How a query stands in the logs."""

    TEXT = "text"
    HASH = "hash"


class LogLimits(Settings):
    """When a log file is closed, and how long it is kept."""

    max_file_mb: float = Field(16.0, gt=0, description="Megabytes at which a file is closed.")
    max_total_mb: float = Field(
        512.0, gt=0, description="Megabytes of all closed files; the oldest go first."
    )
    keep_days: float = Field(30.0, gt=0, description="Days after which a closed file is deleted.")


class QueryLogSettings(Settings):
    """What is remembered of the queries that were answered."""

    share: Share = Field(1.0, description="Share of queries logged, drawn at random; 0 for none.")
    query: QueryText = Field(
        QueryText.TEXT, description="The text, normalised and masked, or a keyed hash of it."
    )
    limits: LogLimits = LogLimits()


class CanaryBudget(Settings):
    """What the candidate may cost before the canary is rolled back."""

    max_error_share: Share = Field(
        0.02, description="Share of failed answers in the window that is still accepted."
    )
    max_errors_in_a_row: int = Field(
        5, ge=1, description="Failed answers, one after the other, that end the canary at once."
    )
    max_p95_ms: float = Field(
        250.0, gt=0, description="Milliseconds of an answer, 95th percentile of the window."
    )
    timeout_ms: float = Field(
        500.0, gt=0, description="Milliseconds until the live release answers in its place."
    )
    window: int = Field(200, ge=1, description="Last answers that are looked at.")
    min_answers: int = Field(
        20, ge=1, description="Answers before share and percentile are looked at."
    )


class Trial(Settings):
    """A candidate that sees live queries beside the live release.

    Attributes:
        trial_id: Drawn for each trial.
        release_id: The candidate.
        version: Its Triton version number.
        live_release_id: What it is compared with; the trial is void when something else serves.
        started: UTC time, ISO 8601.
    """

    format_version: Literal[1] = 1
    trial_id: str
    release_id: str
    version: int = Field(ge=1)
    live_release_id: str
    started: str
    shadow_share: Share = Field(0.0, description="Share of live queries also sent to it.")
    canary_share: Share = Field(0.0, description="Share of live queries that it answers.")
    budget: CanaryBudget = CanaryBudget()


class TripRecord(Settings):
    """Why a canary was rolled back.

    Attributes:
        trial_id: The trial that it ended.
        reason: The measure, its value and its limit.
        when: UTC time, ISO 8601.
    """

    format_version: Literal[1] = 1
    trial_id: str
    reason: str
    when: str
