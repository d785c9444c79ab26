"""Checks of what a stranger sends: every refusal names the field and the limit."""

import numpy as np
from numpy.typing import NDArray

MAX_TEXT_BYTES = 10_240
"""A longer TEXT is refused."""
MAX_TEXT_CHARACTERS = 2_000
"""A longer TEXT is cut; the encoder reads far fewer tokens anyway."""
MAX_K = 1_000
DEFAULT_K = 10


class RequestError(ValueError):
    """A request that cannot be answered; its text goes to the sender as it is."""


def read_texts(values: NDArray[np.object_] | None) -> list[str]:
    """The query texts of a TEXT tensor.

    Args:
        values: `(rows, 1)`, bytes; None if the sender left it out, which Triton lets through.

    Raises:
        RequestError: It is missing, or a row is empty, too long, or not UTF-8.
    """
    if values is None:
        raise RequestError("TEXT is missing. Send the query texts, shape [rows, 1].")
    if values.ndim != 2 or values.shape[1] != 1 or not len(values):
        raise RequestError(f"TEXT must have shape [rows, 1], not {list(values.shape)}.")
    return [_read_text(raw, row) for row, raw in enumerate(values[:, 0])]


def _read_text(raw: bytes, row: int) -> str:
    if len(raw) > MAX_TEXT_BYTES:
        raise RequestError(
            f"TEXT row {row} has {len(raw)} bytes; at most {MAX_TEXT_BYTES} are accepted."
        )
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"TEXT row {row} is not UTF-8 (byte {error.start}). Send the query encoded as UTF-8."
        ) from error
    if not text:
        raise RequestError(f"TEXT row {row} is empty. Send at least one visible character.")
    return text[:MAX_TEXT_CHARACTERS]


def read_k(values: NDArray[np.int32] | None) -> int:
    """The number of products asked for: one for the whole request, `DEFAULT_K` if not given.

    Raises:
        RequestError: Outside 1 to `MAX_K`, or different from row to row.
    """
    if values is None or not values.size:
        return DEFAULT_K
    low, high = int(values.min()), int(values.max())
    if low < 1 or high > MAX_K:
        raise RequestError(f"K is {low if low < 1 else high}; it must be from 1 to {MAX_K}.")
    if low != high:
        raise RequestError(f"K differs within one request ({low} and {high}). Send one K.")
    return low
