"""Writes the vectors directory that `build_index` reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.atomic import write_json
from mmr.data.contents import product_contents
from mmr.data.dataset import Dataset
from mmr.data.expansion import Expansions
from mmr.indexing import CONTENT_COLUMN, EXPANSION_COLUMN, WEIGHT_COLUMNS
from mmr.types import Float32Array, Int64Array, ProductEmbeddings

FORMAT_VERSION = 1

VectorBlock = tuple[Int64Array | slice, Float32Array]


def write_vectors(
    out: Path,
    blocks: Iterable[VectorBlock],
    *,
    products: pa.Table,
    queries: Float32Array,
    encoder_fingerprint: str,
    dataset_hash: str,
) -> None:
    """Writes `vectors.npy`, `products.parquet`, `queries.npy` and `vectors.json`.

    Args:
        out: An existing, empty directory.
        blocks: Catalogue rows and their vectors, unit length; every row exactly once.
        products: Of `product_rows`, row for row.
        queries: `(queries, dim)`, on which the index's recall is measured; may be none.
        encoder_fingerprint: Of the encoder.
        dataset_hash: Content hash of the dataset.
    """
    rows, dim = products.num_rows, queries.shape[1]
    vectors = np.lib.format.open_memmap(
        out / "vectors.npy", "w+", dtype=np.float32, shape=(rows, dim)
    )
    for place, block in blocks:
        vectors[place] = block
    vectors.flush()
    if len(queries):
        np.save(out / "queries.npy", queries)
    pq.write_table(products, out / "products.parquet")
    write_json(
        out / "vectors.json",
        {
            "format_version": FORMAT_VERSION,
            "encoder_fingerprint": encoder_fingerprint,
            "dim": dim,
            "rows": rows,
            "dataset_hash": dataset_hash,
        },
    )


def product_rows(dataset: Dataset, embedded: ProductEmbeddings) -> pa.Table:
    """What an index keeps of each product beside its vector, in catalogue order."""
    products = dataset.product_table(["product_id", "title"])
    columns = {
        "has_text": pa.array(embedded.has_text),
        "has_image": pa.array(embedded.has_image),
        **_weight_columns(embedded),
        CONTENT_COLUMN: product_contents(dataset, embedded.words),
        EXPANSION_COLUMN: expansion_column(embedded.product_ids, embedded.words),
    }
    for name, values in columns.items():
        products = products.append_column(name, values)
    return products


def expansion_column(product_ids: Sequence[str], words: Expansions | None) -> pa.Array:
    """Words that follow each product's title, one space apart; null where the model reads none."""
    if words is None:
        return pa.nulls(len(product_ids), pa.string())
    return pa.array([" ".join(words.get(name, ())) for name in product_ids], type=pa.string())


def _weight_columns(embedded: ProductEmbeddings) -> dict[str, pa.Array]:
    """Text and image weight of each product, null where the fusion has none to state."""
    found: dict[str, pa.Array] = {}
    for place, column in enumerate(WEIGHT_COLUMNS):
        if embedded.weights is None:
            found[column] = pa.nulls(len(embedded.product_ids), pa.float32())
        else:
            found[column] = pa.array(embedded.weights[:, place], from_pandas=True)  # NaN is null
    return found
