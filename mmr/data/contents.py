"""The identity of a product's content: what its vector is made of, and the title that is shown."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from mmr.data.dataset import Dataset
from mmr.data.expansion import Expansions, expanded_title

CONTENT_BYTES = 16
_ROWS = 1024
_COLUMNS = ["product_id", "title", "description", "image"]


def product_contents(dataset: Dataset, words: Expansions | None = None) -> pa.Array:
    """A hash over title, description, photograph and expansion of each product, in catalogue order.

    Two products with the same hash have the same vector under any one encoder. An absent text and
    an empty one are the same, as encoders see it; ids and free attributes do not count.

    Args:
        dataset: A prepared dataset; photographs count as they are stored there.
        words: Of document expansion, where the encoder reads them.

    Returns:
        `(products,)`, BLAKE2b of 16 bytes each.
    """
    words = words or {}
    contents = [
        _content(
            expanded_title(title or "", words[product_id]) if product_id in words else title,
            description,
            image["bytes"] if image else None,
        )
        for batch in dataset.product_batches(_COLUMNS, rows=_ROWS)
        for product_id, title, description, image in zip(
            *(batch.column(name).to_pylist() for name in _COLUMNS), strict=True
        )
    ]
    return pa.array(contents, type=pa.binary(CONTENT_BYTES))


def _content(title: str | None, description: str | None, image: bytes | None) -> bytes:
    digest = hashlib.blake2b(digest_size=CONTENT_BYTES)
    for part in ((title or "").encode(), (description or "").encode(), image or b""):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
