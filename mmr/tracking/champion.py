"""The rules that every registry keeps, whatever stores it."""

from __future__ import annotations

from datetime import UTC, datetime

from mmr.errors import ConfigError, TrackingError
from mmr.tracking.protocols import CHAMPION


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_expected(release_id: str, *, current: str | None, expected: str | None) -> None:
    """Refuses a promotion that was decided on an outdated view.

    Raises:
        TrackingError: The champion is not the expected one.
    """
    if current != expected:
        raise TrackingError(
            f"Release {release_id} was not promoted: the champion is {current or 'none'}, but "
            f"{expected or 'none'} was expected. Someone else promoted meanwhile; see "
            "`mmr history`, compare again with the new champion, and decide anew."
        )


def check_alias_may_be_set(alias: str) -> None:
    """Keeps every move of the champion in the audit record.

    Raises:
        ConfigError: The alias is `champion`.
    """
    if alias == CHAMPION:
        raise ConfigError(
            "The alias champion moves by promotion alone, so that it is audited. Use `mmr deploy`."
        )


def not_registered(release_id: str) -> TrackingError:
    """The error for a release that the registry does not know."""
    return TrackingError(
        f"Release {release_id} is not registered. `mmr releases` lists those that are; "
        "`mmr run` registers new ones."
    )
