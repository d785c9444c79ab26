"""Text in, products out, in one process: encoder and index of one release, which cannot be mixed.

No Triton here: `search.py` and `query_encoder.py` translate between its tensors and this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmr.indexing import ProductIndex
from mmr.release.query_profile import QUERY_PROFILE, BinArray, QueryPlacer, QueryProfile
from mmr.types import Float32Array
from serving.models.encoding import WARM_UP_QUERIES, WARM_UP_ROUNDS, EncodingEngine
from serving.models.served_release import ServedRelease


@dataclass(frozen=True)
class Question:
    """One request: its query texts, and how many products each of them wants."""

    texts: list[str]
    k: int


@dataclass(frozen=True)
class Answer:
    """The products of one request, best first.

    Attributes:
        product_ids: `(queries, k)`, UTF-8 bytes.
        scores: `(queries, k)`, cosine similarity.
        titles: `(queries, k)`, UTF-8 bytes.
        bins: `(queries, axes)`, where the queries lie among the release's training queries; None
            where that is not known.
    """

    product_ids: NDArray[np.object_]
    scores: Float32Array
    titles: NDArray[np.object_]
    bins: BinArray | None = None


class SearchEngine:
    """The query encoder and the index of one release.

    Args:
        encoding: The query encoder.
        index: The index that belongs to it.
        placer: What the release remembers of its training queries; None for older releases.
    """

    def __init__(
        self, encoding: EncodingEngine, index: ProductIndex, placer: QueryPlacer | None = None
    ) -> None:
        self._encoding = encoding
        self._index = index
        self.placer = placer
        self._product_ids = _as_bytes(index.product_ids)
        self._titles = _as_bytes(index.titles)
        self.release_id = encoding.release_id

    @classmethod
    def open(cls, directory: Path, *, threads: int) -> Self:
        """Loads and warms a staged release, after checking the hashes of its files.

        Raises:
            CorruptArtifactError: A file is missing or damaged.
            IndexMismatchError: Encoder and index do not belong together.
        """
        served = ServedRelease.open(directory, parts=("query_encoder", "index", QUERY_PROFILE))
        encoder = served.open_encoder(threads=threads)
        index = ProductIndex.open(
            directory / "index",
            encoder_fingerprint=encoder.fingerprint,
            verify=False,  # every hash was checked two lines above
            threads=threads,
        )
        profile = QueryProfile.read(directory, encoder_fingerprint=encoder.fingerprint)
        engine = cls(
            EncodingEngine(encoder, served.manifest.release_id),
            index,
            QueryPlacer(profile) if profile else None,
        )
        for _ in range(WARM_UP_ROUNDS):
            engine.answer([Question(list(WARM_UP_QUERIES), k=10)])
        return engine

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers several requests with one pass through the encoder and one through the index."""
        vectors = self._encoding.encode([text for question in questions for text in question.texts])
        rows, scores = self._index.search(vectors, max(question.k for question in questions))
        bins = self.placer.bins(vectors) if self.placer else None
        answers, start = [], 0
        for question in questions:
            end = start + len(question.texts)
            found = rows[start:end, : question.k]
            answers.append(
                Answer(
                    product_ids=self._product_ids[found],
                    scores=np.ascontiguousarray(scores[start:end, : question.k]),
                    titles=self._titles[found],
                    bins=None if bins is None else bins[start:end],
                )
            )
            start = end
        return answers


def _as_bytes(texts: Sequence[str]) -> NDArray[np.object_]:
    return np.array([text.encode() for text in texts], dtype=np.object_)
