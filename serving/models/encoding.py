"""The query encoder alone; it must not import what searching needs, which takes as long to load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.types import Float32Array
from serving.models.served_release import ServedRelease

WARM_UP_QUERIES = ("white wardrobe", "large round dining table made of light oak for six people")
WARM_UP_ROUNDS = 5  # the first takes a third longer, the second no more than the twentieth


class EncodingEngine:
    """The query encoder of one release.

    Args:
        encoder: The encoder.
        release_id: The release that it belongs to.
    """

    def __init__(self, encoder: OnnxQueryEncoder, release_id: str) -> None:
        self._encoder = encoder
        self.release_id = release_id

    @classmethod
    def open(cls, directory: Path, *, threads: int) -> Self:
        """Loads and warms the encoder of a staged release, after checking its hashes."""
        served = ServedRelease.open(directory, parts=("query_encoder",))
        engine = cls(served.open_encoder(threads=threads), served.manifest.release_id)
        for _ in range(WARM_UP_ROUNDS):
            engine.encode(WARM_UP_QUERIES)
        return engine

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Unit-length embeddings, `(texts, dim)`."""
        return self._encoder.encode(texts)
