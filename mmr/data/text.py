"""Text as it comes in feeds: cleaned, and reduced to what makes two texts the same."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

# Control characters but tab and line feed, and surrogates, which no UTF-8 file can hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
_LARGEST_EXACT_FLOAT = 2.0**53


def as_text(value: Any) -> str:
    """What a feed's value says, as text: numbers and nested values included, nulls as ''."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value:  # NaN is how data frames spell null
            return ""
        if value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT:
            return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def clean_text(text: str) -> str:
    """Text without control characters (each becomes a space) and without outer white space.

    Tabs, line feeds and every printable character stay as they are.
    """
    return _FORBIDDEN.sub(" ", text).strip()


def has_forbidden(text: str) -> bool:
    """Whether `clean_text` would replace a character inside the text."""
    return _FORBIDDEN.search(text) is not None


def normalise_query(text: str) -> str:
    """What makes two queries the same: NFKC, case folded, white space collapsed.

    Applied twice it changes nothing more.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _SPACES.sub(" ", folded).strip()
