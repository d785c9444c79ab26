"""What a release remembers of its training queries, so that live queries can be held against them.

`query_profile/profile.json` lies in the release and is written when the release is assembled. It
holds no query and no word that can be read. The served model reads it too: the query log then says
of each query where its embedding lies and how many of its words are new, and whoever reads the log
needs neither the encoder nor the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmr.atomic import write_text
from mmr.errors import CorruptArtifactError, IndexMismatchError
from mmr.release.query_words import normalise_query, word_key, words_of
from mmr.types import Float32Array

QUERY_PROFILE = "query_profile"
PROFILE_FILE = "profile.json"
LENGTHS = 9
"""Classes of a query's length: no word, 1 to 7 words, and 8 or more."""
_MAX_BYTES = 64 << 20

BinArray = NDArray[np.uint8]


def has_query_profile(release: Path) -> bool:
    """Whether a release has one; those that are older than profiles have not.

    Args:
        release: The release's directory, or a staged part of it.
    """
    return (release / QUERY_PROFILE / PROFILE_FILE).is_file()


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Axis(_Record):
    """One principal axis of the training queries' embeddings, cut into bins.

    Attributes:
        direction: Unit vector, `dim` numbers.
        edges: Inner edges of the bins, ascending: the deciles of the training queries.
        expected: Training queries in each bin; one more than edges.
        explained: Share of the training queries' variance along it.
    """

    direction: list[float]
    edges: list[float]
    expected: list[int]
    explained: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _check_bins(self) -> Self:
        if len(self.expected) != len(self.edges) + 1 or self.edges != sorted(set(self.edges)):
            raise ValueError("an axis needs ascending edges, and one count more than edges")
        return self


class ScoreReference(_Record):
    """The best scores of queries that were not trained on, in this release's index.

    Trained queries cannot serve here: their own scores are far higher than those of any other.

    Attributes:
        queries: How many.
        low: Their 5th percentile, cosine; what lies below is a low score.
    """

    queries: int = Field(ge=1)
    low: float


class QueryProfile(_Record):
    """The record. Counts are of distinct queries: how often one was asked is not known.

    Attributes:
        encoder_fingerprint: The encoder that placed the queries; bins mean nothing to another.
        queries: Distinct training queries.
        mean: Of their embeddings, `dim` numbers.
        axes: Largest variance first.
        placed: Queries that axes and bins were made of.
        lengths: Queries by number of words, `LENGTHS` classes.
        vocabulary: Keys of their words, ascending; see `word_key`.
        new_word_share: Share of words to expect that is new, in further queries of the same kind:
            words seen once by all words (Good-Turing: Good 1953, Biometrika 40).
        scores: None where too few queries were kept out of training.
    """

    format_version: Literal[1] = 1
    encoder_fingerprint: str
    queries: int = Field(ge=1)
    mean: list[float]
    axes: list[Axis]
    placed: int = Field(ge=1)
    lengths: list[int] = Field(min_length=LENGTHS, max_length=LENGTHS)
    vocabulary: list[str]
    new_word_share: float = Field(ge=0, le=1)
    scores: ScoreReference | None

    @model_validator(mode="after")
    def _check_dimensions(self) -> Self:
        if any(len(axis.direction) != len(self.mean) for axis in self.axes):
            raise ValueError("mean and axes differ in dimension")
        return self

    def write(self, release: Path) -> None:
        """Writes it into a release under construction."""
        write_text(release / QUERY_PROFILE / PROFILE_FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, release: Path, *, encoder_fingerprint: str) -> Self | None:
        """Reads the profile of a release; None where it has none, being older than profiles.

        Args:
            release: The release's directory, or a staged part of it.
            encoder_fingerprint: Of the release's encoder.

        Raises:
            CorruptArtifactError: It cannot be read.
            IndexMismatchError: It was made with another encoder.
        """
        if not has_query_profile(release):
            return None
        path = release / QUERY_PROFILE / PROFILE_FILE
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError(f"larger than {_MAX_BYTES} bytes")
            profile = cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:  # pydantic's ValidationError is a ValueError
            first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise CorruptArtifactError(
                f"{path} cannot be read ({first}). Restore the release from a copy."
            ) from error
        if profile.encoder_fingerprint != encoder_fingerprint:
            raise IndexMismatchError(
                f"{path} was made with encoder {profile.encoder_fingerprint}, but the release "
                f"serves {encoder_fingerprint}. Register the release again."
            )
        return profile


class WordCount(NamedTuple):
    """Words of a query, and how many of them no training query had."""

    words: int
    new: int


class QueryPlacer:
    """Holds queries against a profile, fast enough for the served model.

    Args:
        profile: Of the release whose encoder made the embeddings.
    """

    def __init__(self, profile: QueryProfile) -> None:
        self.profile = profile
        self._vocabulary = frozenset(profile.vocabulary)
        self._mean = np.array(profile.mean, dtype=np.float32)
        directions = np.array([axis.direction for axis in profile.axes], dtype=np.float32)
        self._directions = directions.reshape(len(profile.axes), len(profile.mean)).T
        self._edges = [np.array(axis.edges, dtype=np.float32) for axis in profile.axes]

    def bins(self, embeddings: Float32Array) -> BinArray:
        """The bin of each embedding on each axis, `(queries, axes)`.

        Args:
            embeddings: `(queries, dim)`.
        """
        places = (embeddings - self._mean) @ self._directions
        found = np.empty(places.shape, dtype=np.uint8)
        for axis, edges in enumerate(self._edges):
            found[:, axis] = np.searchsorted(edges, places[:, axis], side="right")
        return found

    def count_words(self, text: str) -> WordCount:
        """Counts the words of a query as a customer typed it."""
        words = words_of(normalise_query(text))
        return WordCount(len(words), len(self.new_words(words)))

    def new_words(self, words: Sequence[str]) -> list[str]:
        """Those of the words that no training query had."""
        return [word for word in words if word_key(word) not in self._vocabulary]
