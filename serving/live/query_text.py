"""How a query stands in a log: nobody can be found by it, equal queries can be counted."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from pathlib import Path

from mmr.errors import ServingError
from serving.live.settings import QueryText

_MAX_CHARACTERS = 200
_SALT_BYTES = 32
_ADDRESS = re.compile(r"\S*@\S*")
_LONG_NUMBER = re.compile(r"\+?\d(?:[\s().-]{0,3}\d){8,}")  # telephone, card, account


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


class QueryRecorder:
    """Turns queries into the field that a log holds.

    Args:
        kind: Text or hash.
        salt: Key of the hash; without it, common queries could be guessed from their hashes.
    """

    def __init__(self, kind: QueryText, salt: bytes) -> None:
        self._kind, self._salt = kind, salt

    def field(self, text: str) -> dict[str, str]:
        """`{"query": …}` or `{"query_hash": …}`, 32 hexadecimal digits."""
        query = normalise_query(text)
        if self._kind is QueryText.TEXT:
            return {"query": query}
        digest = hmac.new(self._salt, query.encode(), hashlib.sha256).hexdigest()
        return {"query_hash": digest[:32]}


def read_salt(directory: Path) -> bytes:
    """The workspace's salt, `salt` in the directory of its logs; drawn when first needed.

    Raises:
        ServingError: It is damaged.
        OSError: It can neither be read nor written.
    """
    path = directory / "salt"
    if not path.is_file():
        _draw_salt(path)
    salt = path.read_bytes()
    if len(salt) != _SALT_BYTES:
        raise ServingError(f"{path} is damaged. Remove it; hashes before and after will differ.")
    return salt


def _draw_salt(path: Path) -> None:
    """Written aside and linked: the first of several processes wins, with a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".salt-{os.getpid()}-{secrets.token_hex(4)}")
    scratch.touch(mode=0o600)
    try:
        scratch.write_bytes(secrets.token_bytes(_SALT_BYTES))
        with contextlib.suppress(FileExistsError):  # the other one is as good
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
