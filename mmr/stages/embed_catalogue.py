"""All product vectors of a dataset, with what an index has to know about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmr.atomic import new_directory
from mmr.data.dataset import Dataset
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import embed_products, embed_queries
from mmr.stages.vectors_directory import product_rows, write_vectors


@dataclass(frozen=True)
class EmbedReport:
    """What was embedded."""

    products: int
    dim: int
    with_text: int
    with_image: int

    def as_metrics(self) -> dict[str, float]:
        """The figures, for a tracker."""
        return {
            "products": float(self.products),
            "dim": float(self.dim),
            "with_text": float(self.with_text),
            "with_image": float(self.with_image),
        }


def embed_catalogue(*, dataset: Path, model: Path, out: Path, cache: Path) -> EmbedReport:
    """Writes the vectors directory that `build_index` reads.

    Args:
        dataset: A prepared dataset.
        model: A model directory.
        out: Directory to write: `vectors.npy` float32 `(products, dim)`, `products.parquet`
            (ids, titles, coverage, text and image weight, hash of the content; row for row),
            `queries.npy` (validation queries, on which the index's recall is measured),
            `vectors.json` (encoder fingerprint, counts).
        cache: Content-addressed results; vectors that the gate computed are taken from there.
    """
    opened = Dataset(dataset)
    embedded = embed_products(model, opened, cache=cache)
    rows, dim = embedded.vectors.shape
    queries = embed_queries(model, opened.queries("validation")["query"].tolist(), cache=cache)
    with new_directory(out, replace=True) as scratch:
        write_vectors(
            scratch,
            [(slice(None), embedded.vectors)],
            products=product_rows(opened, embedded),
            queries=queries,
            encoder_fingerprint=encoder_fingerprint(model),
            dataset_hash=opened.manifest.content_hash,
        )
    return EmbedReport(
        products=rows,
        dim=dim,
        with_text=int(embedded.has_text.sum()),
        with_image=int(embedded.has_image.sum()),
    )
