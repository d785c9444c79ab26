"""From a shop's feed to a dataset, with every refused row on record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from mmr.atomic import new_directory
from mmr.config.data import ImportConfig
from mmr.data.dataset import JUDGEMENT_COLUMNS, QUERY_COLUMNS, DatasetManifest
from mmr.data.feed import Feed, Table, check_mapping, find_feed, open_table
from mmr.data.feed_products import (
    PRODUCT_COLUMNS,
    PRODUCT_REQUIRED,
    ProductCount,
    attribute_types,
    read_products,
)
from mmr.data.feed_queries import (
    JUDGEMENT_REQUIRED,
    QUERY_REQUIRED,
    read_judgements,
    read_queries,
)
from mmr.data.rejects import RejectLog
from mmr.data.sound_images import SoundImages
from mmr.data.writer import DatasetWriter
from mmr.errors import ArtifactError, DataContractError
from mmr.progress import progress_bar

REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True)
class ImportReport:
    """What an import took and what it left.

    Attributes:
        out: The dataset's directory.
        products, queries, judgements: Rows accepted.
        products_without_image: Products whose image is null.
        rejected: Table to rows rejected.
        dropped: Table to rows dropped because a row they refer to was rejected.
        repeated_judgements: Judgements that stood there twice with the same grade.
        cleaned_texts: Texts whose control characters were replaced by spaces.
        content_hash: Identity of the dataset.
        warnings: What the reader should know before training.
    """

    out: Path
    products: int
    queries: int
    judgements: int
    products_without_image: int
    content_hash: str
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    repeated_judgements: int = 0
    cleaned_texts: int = 0
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_manifest(cls, out: Path, manifest: DatasetManifest) -> ImportReport:
        """The report of a dataset that needed no reading, such as a generated one."""
        return cls(
            out=out,
            products=manifest.products,
            queries=manifest.queries,
            judgements=manifest.judgements,
            products_without_image=manifest.products_without_image,
            content_hash=manifest.content_hash,
        )

    def as_metrics(self) -> dict[str, float]:
        """Counts, for a tracker or a pipeline's metrics."""
        return {
            "products": self.products,
            "queries": self.queries,
            "judgements": self.judgements,
            "products_without_image": self.products_without_image,
            "rejected": sum(self.rejected.values()),
            "dropped": sum(self.dropped.values()),
        }


@dataclass(frozen=True)
class _Tables:
    products: Table
    queries: Table | None
    judgements: Table | None

    @property
    def all(self) -> list[Table]:
        return [table for table in (self.products, self.queries, self.judgements) if table]


def import_feed(
    source: Path,
    *,
    out: Path,
    settings: ImportConfig,
    replace: bool = False,
    cache: Path | None = None,
) -> ImportReport:
    """Reads a feed and writes a dataset, which appears at `out` when it is whole.

    Args:
        source: A product file, or a directory with product, query and judgement files.
        out: The dataset to write.
        settings: Column mapping, file choices, limits.
        replace: Whether a dataset at `out` may be replaced.
        cache: A workspace's cache: photographs that were decoded before are not decoded again.

    Raises:
        DataContractError: The feed cannot be read, is empty, or too many rows are rejected.
        ArtifactError: `out` exists and may not be replaced.
    """
    refuse_foreign_target(out, marker="dataset.json", replace=replace)
    feed = find_feed(source, queries=settings.queries, judgements=settings.judgements)
    tables = _open_tables(feed, settings)
    if not tables.products.rows:
        raise DataContractError(f"{_names(tables.products)}: the catalogue is empty. Export again.")
    types = attribute_types(tables.products)
    images = SoundImages(cache / "sound-images" / "import.npz" if cache else None)
    with (
        new_directory(out, replace=replace) as scratch,
        RejectLog(scratch / REJECTED_FILE, max_share=settings.max_rejects) as log,
    ):
        writer = DatasetWriter(scratch, types)
        done = _write_tables(tables, writer, log, settings, images)
        manifest = writer.finish(
            name=settings.name or source.resolve().stem, prepared=None, as_of=_newest(tables)
        )
    images.keep()
    return dataclasses.replace(
        ImportReport.from_manifest(out, manifest),
        rejected=log.counts,
        dropped=log.dropped,
        repeated_judgements=done.repeated_judgements,
        cleaned_texts=done.cleaned_texts,
        warnings=_warnings(tables, manifest),
    )


def refuse_foreign_target(out: Path, *, marker: str, replace: bool) -> None:
    """Stops before any work when `out` may not be written.

    Raises:
        ArtifactError: `out` holds something, and it may not be replaced or is not of this kind.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not replace:
            raise ArtifactError(f"{out} exists already. Choose another --out, or add --force.")
        if not (out / marker).is_file():
            raise ArtifactError(
                f"{out} has no {marker}, so it is not what this command writes, and --force does "
                "not replace it. Choose another --out, or remove it yourself."
            )


@dataclass(frozen=True)
class _Written:
    repeated_judgements: int
    cleaned_texts: int


def _write_tables(
    tables: _Tables,
    writer: DatasetWriter,
    log: RejectLog,
    settings: ImportConfig,
    images: SoundImages,
) -> _Written:
    queries = pd.DataFrame(columns=list(QUERY_COLUMNS))
    rejected_queries: set[str] = set()
    if tables.queries:
        queries, rejected_queries = read_queries(tables.queries, log=log)
        log.check("query", rows=tables.queries.rows)
    count = ProductCount()
    with progress_bar("import products", tables.products.rows) as bar:
        writer.add_products(
            read_products(
                tables.products, settings=settings, log=log, bar=bar, count=count, images=images
            )
        )
    log.check("product", rows=tables.products.rows)
    if not count.accepted:
        raise DataContractError(
            f"{_names(tables.products)}: every row was rejected, the catalogue is empty. "
            "Lower --max-rejects to see why."
        )
    judgements, repeated = pd.DataFrame(columns=list(JUDGEMENT_COLUMNS)), 0
    if tables.judgements:
        judgements, repeated = read_judgements(
            tables.judgements,
            products=count,
            queries=queries,
            rejected_queries=rejected_queries,
            max_grade=settings.max_grade,
            log=log,
        )
        log.check("judgement", rows=tables.judgements.rows)
    writer.set_queries(queries)
    writer.set_judgements(judgements)
    return _Written(repeated, count.cleaned)


def _warnings(tables: _Tables, manifest: DatasetManifest) -> tuple[str, ...]:
    found = []
    if not manifest.queries:
        found.append("The feed has no queries: give them with --queries FILE.")
    if not manifest.judgements:
        found.append(
            "The feed has no judgements: such a dataset can be indexed, but neither trained on nor "
            "evaluated. Give them with --judgements FILE."
        )
    for table in tables.all:
        if table.skipped:
            found.append(
                f"{table.files[0].name}: left out the columns {', '.join(table.skipped[:10])} "
                "(nameless, binary, or hidden by a mapped column)."
            )
    return tuple(found)


def _open_tables(feed: Feed, settings: ImportConfig) -> _Tables:
    mapping = {str(name): column for name, column in settings.columns.items()}

    def open_one(
        name: str, file: Path | None, fields: tuple[str, ...], required: tuple[str, ...]
    ) -> Table | None:
        if file is None:
            return None
        return open_table(name, [file], fields=fields, required=required, mapping=mapping)

    if feed.judgements and not feed.queries:
        raise DataContractError(
            f"{feed.judgements} judges queries, but there is no query file. Give it with "
            "--queries FILE."
        )
    tables = _Tables(
        open_table(
            "product",
            feed.products,
            fields=PRODUCT_COLUMNS,
            required=PRODUCT_REQUIRED,
            mapping=mapping,
        ),
        open_one("query", feed.queries, QUERY_COLUMNS, QUERY_REQUIRED),
        open_one("judgement", feed.judgements, JUDGEMENT_COLUMNS, JUDGEMENT_REQUIRED),
    )
    check_mapping(mapping, tables.all)
    return tables


def _newest(tables: _Tables) -> str:
    """When the last of the feed's files was changed, UTC, ISO 8601."""
    changed = max(file.stat().st_mtime for table in tables.all for file in table.files)
    return datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")


def _names(table: Table) -> str:
    return ", ".join(str(path) for path in table.files[:3])
