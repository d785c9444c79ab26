"""How a query stands in a log: nobody can be found by it, equal queries can be counted."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mmr.errors import ServingError
from mmr.release.query_words import normalise_query
from serving.live.settings import QueryText

_SALT_BYTES = 32
_HASH_DIGITS = 32


class QueryRecorder:
    """Turns queries into the field that a log holds.

    Args:
        kind: Text or hash.
        salt: Key of the hash; without it, common queries could be guessed from their hashes.
    """

    def __init__(self, kind: QueryText, salt: bytes) -> None:
        self._kind, self._salt = kind, salt

    @property
    def hides(self) -> bool:
        """Whether a log must not tell what was asked."""
        return self._kind is QueryText.HASH

    def field(self, text: str) -> dict[str, str]:
        """`{"query": …}` or `{"query_hash": …}`, 32 hexadecimal digits."""
        if self.hides:
            return {"query_hash": self._digest(text)[:_HASH_DIGITS]}
        return {"query": normalise_query(text)}

    def choose(self, text: str, among: int) -> int:
        """A number below `among`, always the same for one query; its hash does not tell it."""
        return int(self._digest(text)[_HASH_DIGITS:], 16) % among

    def _digest(self, text: str) -> str:
        query = normalise_query(text).encode()
        return hmac.new(self._salt, query, hashlib.sha256).hexdigest()


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
