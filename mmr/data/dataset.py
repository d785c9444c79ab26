"""The dataset contract: what every feed becomes and every later step reads.

DATASET/
  dataset.json              schema version, counts, content hash, how it was prepared
  products/part-00000.parquet   product_id, title, description, image {bytes, path}, free attributes
  queries.parquet           query_id, query, kind, split
  judgements.parquet        query_id, product_id, grade, weight

Images live inside Parquet shards of a bounded size: DVC and object stores are slow on many small
files. The layout is readable by Hugging Face `datasets` as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from mmr.errors import CorruptArtifactError, DataContractError

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PRODUCT_FIELDS: dict[str, pa.DataType] = {
    "product_id": pa.string(),
    "title": pa.string(),
    "description": pa.string(),
    "image": IMAGE_TYPE,
}
COLD_START = "cold_start"  # optional bool attribute: declared absent from the train judgements
QUERY_COLUMNS = ("query_id", "query", "kind", "split")
JUDGEMENT_COLUMNS = ("query_id", "product_id", "grade", "weight")

Split = Literal["train", "validation", "test"]


class DatasetManifest(BaseModel):
    """What `dataset.json` records.

    Attributes:
        schema_version: Version of this contract.
        name: A name for people; it decides nothing.
        content_hash: SHA-256 over the data files, the identity of the dataset.
        products, queries, judgements: Row counts.
        products_without_image: Rows whose image is null.
        attributes: Names of the free product attributes.
        prepared: Settings of `mmr prepare` that made this dataset; null before that step.
        as_of: When the newest file of the feed was last changed, UTC, ISO 8601; null where that is
            unknown, as for generated data. It decides nothing of the content hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    content_hash: str
    products: int
    queries: int
    judgements: int
    products_without_image: int
    attributes: list[str] = []
    prepared: dict[str, Any] | None = None
    as_of: str | None = None


class Dataset:
    """A dataset on disk, opened for reading.

    Args:
        path: A directory that holds `dataset.json`.

    Raises:
        DataContractError: The directory is no dataset, or one of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = _read_manifest(path)

    def __len__(self) -> int:
        """Number of products."""
        return self.manifest.products

    @property
    def shards(self) -> list[Path]:
        """The product shards, in order."""
        return sorted((self.path / "products").glob("part-*.parquet"))

    def product_table(self, columns: list[str] | None = None) -> pa.Table:
        """All products in catalogue order, without the image bytes unless asked for.

        Args:
            columns: Columns to read; all but `image` when None.
        """
        tables = []
        for shard in self.shards:
            file = _open_parquet(shard)
            wanted = columns or [name for name in file.schema_arrow.names if name != "image"]
            tables.append(file.read(columns=wanted))
        return pa.concat_tables(tables, promote_options="default")

    def product_ids(self) -> list[str]:
        """Product ids in catalogue order."""
        return list(self.product_table(["product_id"])["product_id"].to_pylist())

    def product_batches(
        self, columns: list[str] | None = None, *, rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """Products in catalogue order, a few rows at a time, images included: memory stays flat."""
        for shard in self.shards:
            yield from _open_parquet(shard).iter_batches(batch_size=rows, columns=columns)

    def queries(self, split: Split | None = None) -> pd.DataFrame:
        """Queries (columns `QUERY_COLUMNS`), all or of one split."""
        frame: pd.DataFrame = _open_parquet(self.path / "queries.parquet").read().to_pandas()
        return frame if split is None else frame[frame["split"] == split].reset_index(drop=True)

    def judgements(self, split: Split | None = None) -> pd.DataFrame:
        """Judgements (columns `JUDGEMENT_COLUMNS`), all or those of one split's queries."""
        frame: pd.DataFrame = _open_parquet(self.path / "judgements.parquet").read().to_pandas()
        if split is None:
            return frame
        wanted = self.queries(split)["query_id"]
        return frame[frame["query_id"].isin(wanted)].reset_index(drop=True)


def _read_manifest(path: Path) -> DatasetManifest:
    file = path / "dataset.json"
    if not file.is_file():
        raise DataContractError(
            f"{path} is not a dataset: it has no dataset.json. "
            "Make one with `mmr import SOURCE --out DATASET` or `mmr showroom --out DATASET`."
        )
    try:
        manifest = DatasetManifest.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataContractError(
            f"{file} cannot be read: {error}. Import the feed again."
        ) from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise DataContractError(
            f"{path} has dataset schema version {manifest.schema_version}, but this mmr reads "
            f"version {SCHEMA_VERSION}. Import the feed again with this mmr."
        )
    return manifest


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise DataContractError(f"{path} is missing. Import the feed again.") from error
    except pa.ArrowInvalid as error:
        raise CorruptArtifactError(
            f"{path} is damaged or cut short ({error}). Import the feed again."
        ) from error
