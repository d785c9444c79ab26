"""Says what to do when the disk is full."""

import errno


def full_disk_message(error: OSError) -> str | None:
    """The message for the user if an error means that no space is left, else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    place = f" while writing {error.filename}" if error.filename else ""
    return (
        f"The disk is full{place}. Nothing half-written was left behind. "
        "Free some space and run the same command again."
    )
