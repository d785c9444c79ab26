"""Checks of what a stranger sends: every refusal names the field and the limit."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_TEXT_BYTES = 10_240
"""A longer TEXT is refused."""
MAX_TEXT_CHARACTERS = 2_000
"""A longer TEXT is cut; the encoder reads far fewer tokens anyway."""
MAX_K = 1_000
DEFAULT_K = 10
MAX_KEY_BYTES = 256
WARM_UP_TEXT = "warm-up of a new version"
"""What Triton sends through a version before it counts as ready; it is no customer's query."""


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


@dataclass(frozen=True)
class RequestOptions:
    """The parameters of a request; Triton hands them on as it gets them.

    Attributes:
        release: The release that must answer; None for whichever serves.
        key: Decides in place of the query whether a canary answers: a customer always meets the
            same release then. It is neither stored nor logged.
        fixed: The version that was addressed answers, never a canary.
        probe: A check by an operator: as `fixed`, and it stands in no log.
    """

    release: str | None = None
    key: str | None = None
    fixed: bool = False
    probe: bool = False

    @property
    def stays(self) -> bool:
        """Whether the version that was addressed must answer."""
        return self.fixed or self.probe or self.release is not None


def read_options(parameters: str) -> RequestOptions:
    """The request parameters that mean something here; others are left alone.

    Args:
        parameters: JSON, as Triton's Python backend gives it; empty for none.

    Raises:
        RequestError: One of them has the wrong type or is too long.
    """
    try:
        values = json.loads(parameters) if parameters else {}
    except ValueError as error:
        raise RequestError(
            "The request parameters are not JSON. Send names with values."
        ) from error
    key = _text_parameter(values, "key")
    if key is not None and len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise RequestError(f"Parameter key is longer than {MAX_KEY_BYTES} bytes. Send a hash.")
    return RequestOptions(
        release=_text_parameter(values, "release"),
        key=key,
        fixed=_flag_parameter(values, "fixed"),
        probe=_flag_parameter(values, "probe"),
    )


def _text_parameter(values: dict[str, object], name: str) -> str | None:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    raise RequestError(f"Parameter {name} must be a text, not {type(value).__name__}.")


def _flag_parameter(values: dict[str, object], name: str) -> bool:
    value = values.get(name, False)
    if isinstance(value, bool):
        return value
    raise RequestError(f"Parameter {name} must be true or false, not {type(value).__name__}.")


def check_release(options: RequestOptions, *, release_id: str, version: str) -> None:
    """Refuses a request that is pinned to another release than the one that got it.

    Raises:
        RequestError: It is.
    """
    if options.release is not None and options.release != release_id:
        raise RequestError(
            f"Parameter release asks for {options.release[:64]!r}, but version {version} holds "
            f"release {release_id}. Address the version that holds it, or leave the parameter out."
        )
