"""Makes the profile of training queries that a release carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmr.release.exam import evenly
from mmr.release.query_profile import LENGTHS, Axis, QueryProfile, ScoreReference
from mmr.release.query_words import normalise_query, word_key, words_of
from mmr.types import Float32Array

AXES = 8
BINS = 10
MAX_PLACED = 5_000
"""Queries that axes and bins are made of; more would make neither of them steadier."""
MAX_SCORED = 2_000
MIN_SCORED = 50
LOW_SCORE_SHARE = 0.05
"""Share of queries with a low score in the release itself, by definition."""
_DECIMALS = 6

Encode = Callable[[Sequence[str]], Float32Array]


def fit_profile(
    texts: Sequence[str], encode: Encode, *, encoder_fingerprint: str
) -> QueryProfile | None:
    """Describes training queries; None where there is none.

    The axes are the principal axes of the embeddings. The bins of an axis are the deciles of the
    training queries' projections, so that each holds a tenth of them; equal projections share one.

    Args:
        texts: Training queries; equal ones, after `normalise_query`, count once.
        encode: Embeds queries, `(queries, dim)`.
        encoder_fingerprint: Of that encoder.
    """
    distinct = {query: text for text in texts if (query := normalise_query(text))}
    if not distinct:
        return None
    placed = evenly([distinct[query] for query in sorted(distinct)], MAX_PLACED)
    embeddings = encode(placed).astype(np.float64)
    mean = embeddings.mean(axis=0).round(_DECIMALS)
    counted = Counter(word for query in distinct for word in words_of(query))
    words = [len(words_of(query)) for query in distinct]
    return QueryProfile(
        encoder_fingerprint=encoder_fingerprint,
        queries=len(distinct),
        mean=mean.tolist(),
        axes=_axes(embeddings - mean),
        placed=len(placed),
        lengths=np.bincount(np.minimum(words, LENGTHS - 1), minlength=LENGTHS).tolist(),
        vocabulary=sorted({word_key(word) for word in counted}),
        new_word_share=sum(n == 1 for n in counted.values()) / max(1, counted.total()),
        scores=None,
    )


def score_reference(top_scores: Sequence[float]) -> ScoreReference | None:
    """Says which scores are low, from the best scores of queries that were not trained on.

    Returns:
        None where there are fewer than `MIN_SCORED`.
    """
    if len(top_scores) < MIN_SCORED:
        return None
    low = float(np.quantile(top_scores, LOW_SCORE_SHARE))
    return ScoreReference(queries=len(top_scores), low=round(low, _DECIMALS))


def _axes(centred: NDArray[np.float64]) -> list[Axis]:
    """Principal axes of `(queries, dim)`; the sign of each is that of its largest component."""
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    shares = lengths**2 / max(float((lengths**2).sum()), np.finfo(np.float64).tiny)
    axes = []
    for direction, share in zip(directions[:AXES], shares[:AXES], strict=True):
        largest = direction[np.abs(direction).argmax()]
        rounded = (direction * np.sign(largest)).round(_DECIMALS)
        places = centred @ rounded
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(places, inner).round(_DECIMALS))
        found = np.searchsorted(edges, places, side="right")
        axes.append(
            Axis(
                direction=rounded.tolist(),
                edges=edges.tolist(),
                expected=np.bincount(found, minlength=len(edges) + 1).tolist(),
                explained=round(min(1.0, float(share)), _DECIMALS),
            )
        )
    return axes
