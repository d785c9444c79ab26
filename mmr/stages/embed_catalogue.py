"""All product vectors of a dataset, with what an index has to know about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.atomic import new_directory, write_json
from mmr.data.dataset import Dataset
from mmr.indexing import WEIGHT_COLUMNS
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import embed_products, embed_queries
from mmr.types import ProductEmbeddings

FORMAT_VERSION = 1


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
            (ids, titles, coverage, text and image weight; row for row), `queries.npy`
            (validation queries, on which the index's recall is measured), `vectors.json` (encoder
            fingerprint, counts).
        cache: Content-addressed results; vectors that the gate computed are taken from there.
    """
    opened = Dataset(dataset)
    embedded = embed_products(model, opened, cache=cache)
    rows, dim = embedded.vectors.shape
    products = opened.product_table(["product_id", "title"])
    products = products.append_column("has_text", pa.array(embedded.has_text))
    products = products.append_column("has_image", pa.array(embedded.has_image))
    for column, weights in _weight_columns(embedded).items():
        products = products.append_column(column, weights)
    queries = embed_queries(model, opened.queries("validation")["query"].tolist(), cache=cache)
    with new_directory(out, replace=True) as scratch:
        np.save(scratch / "queries.npy", queries)
        np.save(scratch / "vectors.npy", np.asarray(embedded.vectors))
        pq.write_table(products, scratch / "products.parquet")
        write_json(
            scratch / "vectors.json",
            {
                "format_version": FORMAT_VERSION,
                "encoder_fingerprint": encoder_fingerprint(model),
                "dim": dim,
                "rows": rows,
                "dataset_hash": opened.manifest.content_hash,
            },
        )
    return EmbedReport(
        products=rows,
        dim=dim,
        with_text=int(embedded.has_text.sum()),
        with_image=int(embedded.has_image.sum()),
    )


def _weight_columns(embedded: ProductEmbeddings) -> dict[str, pa.Array]:
    """Text and image weight of each product, null where the fusion has none to state."""
    found: dict[str, pa.Array] = {}
    for place, column in enumerate(WEIGHT_COLUMNS):
        if embedded.weights is None:
            found[column] = pa.nulls(len(embedded.product_ids), pa.float32())
        else:
            found[column] = pa.array(embedded.weights[:, place], from_pandas=True)  # NaN is null
    return found
