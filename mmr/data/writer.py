"""Writes a dataset as it is produced: bounded shards, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.atomic import new_directory, write_json
from mmr.data.dataset import PRODUCT_FIELDS, DatasetManifest
from mmr.hashing import files_below, sha256_file, sha256_json

SHARD_BYTES = 64 << 20  # of image bytes; a bounded shard keeps memory flat and uploads resumable
SHARD_ROWS = 50_000

_QUERY_SCHEMA = pa.schema([(name, pa.string()) for name in ("query_id", "query", "kind", "split")])
_JUDGEMENT_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("product_id", pa.string()),
        ("grade", pa.int32()),
        ("weight", pa.float32()),
    ]
)


class DatasetWriter:
    """Collects rows into shards. Use `new_dataset`, which makes the result appear whole.

    Args:
        directory: The scratch directory to write to.
        attributes: Free product attributes: name to Arrow type.
    """

    def __init__(self, directory: Path, attributes: Mapping[str, pa.DataType]) -> None:
        self._directory = directory
        self.schema = pa.schema([*PRODUCT_FIELDS.items(), *attributes.items()])
        self._attributes = list(attributes)
        self._rows: list[Mapping[str, Any]] = []
        self._image_bytes = 0
        self._shards = 0
        self._products = self._without_image = 0
        self._queries = self._judgements = 0
        (directory / "products").mkdir()

    def add_products(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds products; each row has the contract's fields, `image` a dict or None."""
        for row in rows:
            self._rows.append(row)
            image = row["image"]
            self._image_bytes += len(image["bytes"]) if image else 0
            self._without_image += image is None
            self._products += 1
            if self._image_bytes >= SHARD_BYTES or len(self._rows) >= SHARD_ROWS:
                self._flush()

    def set_queries(self, frame: pd.DataFrame) -> None:
        """Writes the queries; `kind` and `split` may be empty strings before `mmr prepare`."""
        self._queries = len(frame)
        self._write_frame("queries.parquet", frame, _QUERY_SCHEMA)

    def set_judgements(self, frame: pd.DataFrame) -> None:
        """Writes the judgements; without a `weight` column every judgement weighs 1."""
        self._judgements = len(frame)
        self._write_frame(
            "judgements.parquet",
            frame.assign(weight=frame.get("weight", 1.0)),
            _JUDGEMENT_SCHEMA,
        )

    def finish(
        self, *, name: str, prepared: dict[str, Any] | None, as_of: str | None = None
    ) -> DatasetManifest:
        """Flushes the last shard and writes `dataset.json`; see `DatasetManifest`."""
        self._flush()
        hashes = [
            [file.relative_to(self._directory).as_posix(), sha256_file(file)]
            for file in files_below(self._directory)
            if file.suffix == ".parquet"
        ]
        manifest = DatasetManifest(
            name=name,
            content_hash=sha256_json(hashes),
            products=self._products,
            queries=self._queries,
            judgements=self._judgements,
            products_without_image=self._without_image,
            attributes=self._attributes,
            prepared=prepared,
            as_of=as_of,
        )
        write_json(self._directory / "dataset.json", manifest.model_dump())
        return manifest

    def _flush(self) -> None:
        if not self._rows and self._shards:
            return
        table = pa.Table.from_pylist(self._rows, schema=self.schema)
        pq.write_table(
            table,
            self._directory / "products" / f"part-{self._shards:05d}.parquet",
            row_group_size=1024,
            compression="zstd",
            use_dictionary=[name for name in self.schema.names if name in self._attributes],
        )
        self._shards += 1
        self._rows, self._image_bytes = [], 0

    def _write_frame(self, name: str, frame: pd.DataFrame, schema: pa.Schema) -> None:
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), self._directory / name)


@contextmanager
def new_dataset(
    path: Path, *, attributes: Mapping[str, pa.DataType], replace: bool = False
) -> Iterator[DatasetWriter]:
    """Opens a writer whose dataset appears at `path` when the block ends without an error.

    The block itself calls `DatasetWriter.finish`.

    Raises:
        ArtifactError: `path` exists, is not empty, and `replace` is false.
    """
    with new_directory(path, replace=replace) as scratch:
        yield DatasetWriter(scratch, attributes)
