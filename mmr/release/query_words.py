"""How a query is read outside the encoder: masked, and as words. Runs in the server too."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_MAX_CHARACTERS = 200
_ADDRESS = re.compile(r"\S*@\S*")
_LONG_NUMBER = re.compile(r"\+?\d(?:[\s().-]{0,3}\d){8,}")  # telephone, card, account
_MASK = re.compile(r"<(?:address|number)>")
_WORD = re.compile(r"\w+")
_KEY_DIGITS = 12


def normalise_query(text: str) -> str:
    """Lower case, one space between words, no control characters; addresses and numbers masked.

    `<address>` stands for what holds an `@`, `<number>` for nine digits or more, spaces
    and dashes between them included. What is left is
    cut to 200 characters.
    """
    plain = unicodedata.normalize("NFKC", text)
    printable = "".join(char if char.isprintable() else " " for char in plain)
    masked = _LONG_NUMBER.sub("<number>", _ADDRESS.sub("<address>", printable))
    return " ".join(masked.casefold().split())[:_MAX_CHARACTERS]


def words_of(query: str) -> list[str]:
    """Runs of letters and digits of a normalised query, in order; what was masked is no word.

    A language written without spaces gives one long word where a person reads several.
    """
    return _WORD.findall(_MASK.sub(" ", query))


def word_key(word: str) -> str:
    """A word as a vocabulary keeps it: 12 hexadecimal digits of its SHA-256.

    A vocabulary can be asked about a word and not be read: what few customers typed, such as a
    name, does not stand in a release.
    """
    return hashlib.sha256(word.encode(errors="surrogatepass")).hexdigest()[:_KEY_DIGITS]
