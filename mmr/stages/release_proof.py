"""Proof that a release under construction answers as its trained model does, and golden queries."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmr.indexing import ProductIndex
from mmr.release.bundle import GOLDEN, INDEX, QUERY_ENCODER, GoldenQuery, write_golden_queries
from mmr.release.exam import evenly
from mmr.release.parity import ParityReport, check_parity, measure_parity
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.types import Float32Array

GOLDEN_QUERIES = 16
GOLDEN_TOP_K = 10
PARITY_QUERIES = 200


def prove_answers(
    queries: Sequence[Sequence[str]],
    model: Path,
    draft: Path,
    fingerprint: str,
    *,
    proven: ParityReport | None = None,
) -> ParityReport:
    """Compares the exported encoder with the trained one, and writes the golden queries.

    Args:
        queries: Query texts to ask, in several choices: the first that has enough is taken; product
            titles where none has.
        model: The trained model.
        draft: The release under construction, with its query encoder and index.
        fingerprint: Of the trained model's encoder.
        proven: What came of the comparison when the same two encoders were compared before; it is
            not repeated then.

    Raises:
        ArtifactError: The two encoders differ.
    """
    product_index = ProductIndex.open(draft / INDEX, encoder_fingerprint=fingerprint, threads=1)
    encoder = OnnxQueryEncoder(draft / QUERY_ENCODER)
    texts = _real_queries(queries, product_index)
    parity = proven or check_parity(
        measure_parity(
            texts=texts,
            reference=_trained_embeddings(model, texts),
            exported=encoder.encode(texts),
            products=product_index.vectors(),
            top_k=GOLDEN_TOP_K,
        )
    )
    golden = evenly(list(range(len(texts))), GOLDEN_QUERIES)
    write_golden_queries(
        draft / GOLDEN,
        _golden_queries([texts[row] for row in golden], encoder, product_index),
    )
    return parity


def _golden_queries(
    texts: list[str], encoder: OnnxQueryEncoder, index: ProductIndex
) -> list[GoldenQuery]:
    """Each query encoded alone, as serving does it."""
    golden = []
    for text in texts:
        embedding = encoder.encode([text])
        rows, scores = index.search(embedding, GOLDEN_TOP_K)
        golden.append(
            GoldenQuery(
                text=text,
                embedding=embedding[0].tolist(),
                product_ids=[index.product_ids[row] for row in rows[0]],
                scores=scores[0].tolist(),
            )
        )
    return golden


def _real_queries(choices: Sequence[Sequence[str]], index: ProductIndex) -> list[str]:
    texts: list[str] = []
    for choice in choices:
        texts = sorted({str(text) for text in choice if str(text).strip()})
        if len(texts) >= GOLDEN_QUERIES:
            return evenly(texts, PARITY_QUERIES)
    titles = sorted({title for title in index.titles if title.strip()} - set(texts))
    return texts + evenly(titles, GOLDEN_QUERIES - len(texts))


def _trained_embeddings(model: Path, texts: list[str]) -> Float32Array:
    from mmr.stages.embedding import embed_queries

    with tempfile.TemporaryDirectory() as cache:  # fresh: what was kept must not be compared
        return embed_queries(model, texts, cache=Path(cache))
