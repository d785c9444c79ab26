"""The stage `build_index`: product vectors in, an index of measured recall out."""

from pathlib import Path

from mmr.config.index import IndexConfig
from mmr.indexing import IndexReport, build_product_index


def build_index(
    *, vectors: Path, out: Path, settings: IndexConfig, queries: Path | None = None
) -> IndexReport:
    """Builds the search index of an embedded catalogue and gates its recall.

    Args:
        vectors: Directory written by `embed_catalogue`.
        out: Index directory to write; appears whole or not at all.
        settings: Kind of index and the recall@100 it must reach.
        queries: `.npy` of query vectors to measure recall on. When None, `queries.npy` in the
            vectors directory; where there is none, sampled product vectors, an optimistic proxy.

    Raises:
        ArtifactError: The vectors are damaged, the recall is not reached, or the disk is full.
    """
    beside = vectors / "queries.npy"
    if queries is None and beside.is_file():
        queries = beside
    return build_product_index(vectors=vectors, queries=queries, out=out, settings=settings)
