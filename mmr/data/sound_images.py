"""Photographs that were decoded whole before need not be decoded again every night."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import PIL

from mmr.atomic import new_file
from mmr.data.images import ImageLimits, check_image

_DIGEST_BYTES = 32
_DECODER = f"Pillow {PIL.__version__}"  # another one may refuse what this one took


class SoundImages:
    """Sizes of photographs that a step has decoded, by the SHA-256 of their bytes.

    Only sound ones are remembered: what was refused once is looked at again. One step has a file
    of its own, which holds the photographs of its last run.

    Args:
        file: Where they are kept; None remembers nothing from run to run. A file that is damaged,
            or of another decoder, counts as none.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known = _read(file) if file is not None else {}
        self._seen: dict[bytes, tuple[int, int]] = {}

    def size_of(self, data: bytes, limits: ImageLimits) -> tuple[int, int]:
        """Width and height of an image whose every byte was decoded, now or before.

        May be called in several threads.

        Raises:
            ImageProblemError: As `check_image` does.
        """
        digest = hashlib.sha256(data).digest()
        size = self._known.get(digest) or self._seen.get(digest)
        if size is None or len(data) > limits.max_bytes or size[0] * size[1] > limits.max_pixels:
            size = check_image(data, limits)
        self._seen[digest] = size
        return size

    def keep(self) -> None:
        """Remembers the images of this run, and forgets those that were not in it."""
        if self._file is None or self._seen == self._known:
            return
        digests = np.frombuffer(b"".join(self._seen), np.uint8).reshape(-1, _DIGEST_BYTES)
        sizes = np.array(list(self._seen.values()), np.int32).reshape(-1, 2)
        with new_file(self._file) as scratch, scratch.open("wb") as file:
            np.savez(file, decoder=np.array(_DECODER), digests=digests, sizes=sizes)


def _read(file: Path) -> Mapping[bytes, tuple[int, int]]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            if str(kept["decoder"]) != _DECODER:
                return {}
            digests, sizes = kept["digests"], kept["sizes"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    if digests.shape[1:] != (_DIGEST_BYTES,) or sizes.shape != (len(digests), 2):
        return {}
    pairs = zip(digests, sizes.tolist(), strict=True)
    return {digest.tobytes(): (width, height) for digest, (width, height) in pairs}
