"""The rules that every registry keeps, whatever stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mmr.errors import ConfigError, TrackingError
from mmr.tracking.protocols import CHAMPION, DELETED


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


def check_not_deleted(release_id: str, tags: Mapping[str, str]) -> None:
    """Refuses an alias for a release whose files are gone.

    Raises:
        TrackingError: The release was deleted.
    """
    if DELETED in tags:
        raise TrackingError(
            f"Release {release_id} was deleted at {tags[DELETED]}, so no alias may name it. "
            "`mmr releases` lists those that are present."
        )


def check_not_named(release_id: str, aliases: Sequence[str]) -> None:
    """Refuses to delete a release that an alias names.

    Raises:
        TrackingError: At least one does.
    """
    if aliases:
        raise TrackingError(
            f"Release {release_id} may not be deleted: it is {' and '.join(sorted(aliases))}. "
            "Promote another release first."
        )
