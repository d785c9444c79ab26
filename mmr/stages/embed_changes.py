"""The stage `embed_changes`: vectors of a newer catalogue, those of the champion reused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mmr.atomic import new_directory
from mmr.config.refresh import RefreshConfig
from mmr.data.contents import product_contents
from mmr.data.dataset import JUDGEMENT_COLUMNS, QUERY_COLUMNS, Dataset
from mmr.data.expansion import Expansions, asked_words
from mmr.data.locate import find_dataset
from mmr.data.writer import new_dataset
from mmr.errors import IndexMismatchError
from mmr.indexing import CONTENT_COLUMN, EXPANSION_COLUMN, ProductIndex, recorded_words
from mmr.release.bundle import Release
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.catalogue_changes import (
    CatalogueChanges,
    ChangeReport,
    compare_catalogues,
    refuse_foreign_catalogue,
    write_changes,
)
from mmr.stages.exam import exam_of
from mmr.stages.vectors_directory import VectorBlock, expansion_column, product_rows, write_vectors
from mmr.types import ProductEmbeddings
from mmr.workspace import Workspace

_BLOCK_ROWS = 65_536
_PRODUCT_COLUMNS = ["product_id", "title", "description", "image"]


def embed_changes(
    *,
    dataset: Path,
    champion: Path,
    out: Path,
    model_out: Path,
    settings: RefreshConfig,
    workspace: Workspace,
) -> ChangeReport:
    """Embeds what the champion has not embedded yet, and takes over all its other vectors.

    A product is known by the hash of its title, description and photograph, and of the words of
    document expansion where the champion reads them. A release from before these hashes were
    recorded is known by the dataset that it was built from; where that is gone, everything is
    embedded.

    Args:
        dataset: The whole catalogue as it is now, prepared as the champion's was.
        champion: Directory of the release in production; every file is checked first.
        out: The vectors directory to write, as `embed_catalogue` does, with what changed; where
            nothing changed, it holds that fact alone.
        model_out: Receives the champion's product encoder, which made the vectors.
        settings: How many products may be gone.
        workspace: Its cache keeps embeddings; its runs know their datasets.

    Raises:
        CorruptArtifactError: A file of the champion differs from its recorded hash.
        DataContractError: Too many of the champion's products are not in the dataset.
    """
    release = Release.open(champion, verify="hashes")
    index = _open_index(release)
    newer = _NewerCatalogue.open(Dataset(dataset), index)
    changes = compare_catalogues(
        newer.rows["product_id"].to_pylist(),
        newer.rows[CONTENT_COLUMN].to_pylist(),
        before_ids=index.product_ids,
        before_contents=_contents_before(release, index, workspace),
    )
    refuse_foreign_catalogue(
        changes,
        release_id=release.release_id,
        before=len(index),
        max_removed_share=settings.max_removed_share,
    )
    with new_directory(out, replace=True) as scratch:
        if not changes.is_empty:
            _write_merged(scratch, newer, release, index, changes, cache=workspace.cache)
        report = write_changes(scratch, changes, before=len(index))
    with new_directory(model_out, replace=True) as scratch:
        shutil.copytree(
            release.model_dir, scratch, copy_function=shutil.copyfile, dirs_exist_ok=True
        )
    return report


@dataclass(frozen=True)
class _NewerCatalogue:
    """The catalogue as it is now.

    Attributes:
        data: Its dataset.
        words: Of document expansion, by product id; None for a champion that reads none.
        rows: What the index tells of each product by the catalogue: its id, title, the hash of its
            content, and its expansion.
    """

    data: Dataset
    words: Expansions | None
    rows: pa.Table

    @classmethod
    def open(cls, data: Dataset, index: ProductIndex) -> _NewerCatalogue:
        """Opens it as the champion would read it."""
        words = _words(data, index)
        rows = data.product_table(["product_id", "title"])
        rows = rows.append_column(CONTENT_COLUMN, product_contents(data, words))
        expansion = expansion_column(rows["product_id"].to_pylist(), words)
        return cls(data, words, rows.append_column(EXPANSION_COLUMN, expansion))


def _words(data: Dataset, index: ProductIndex) -> Expansions | None:
    """Words of document expansion, None for a champion that reads none.

    A feed that brings products alone says nothing of what was asked: there each product keeps the
    words that the champion has for it.
    """
    recorded = recorded_words(index.products)
    return None if recorded is None else asked_words(data) or recorded


def _open_index(release: Release) -> ProductIndex:
    recorded, found = release.manifest.encoder_fingerprint, encoder_fingerprint(release.model_dir)
    if found != recorded:
        raise IndexMismatchError(
            f"Release {release.release_id} was made with encoder {recorded}, but holds the product "
            f"encoder {found}, which cannot embed new products for it. Train a new release."
        )
    return ProductIndex.open(release.index_dir, encoder_fingerprint=found, verify=False)


def _contents_before(
    release: Release, index: ProductIndex, workspace: Workspace
) -> list[bytes] | None:
    """The content of each product that the champion holds, by index row; None if unknown."""
    recorded = index.products[CONTENT_COLUMN]
    if not recorded.null_count:
        return list(recorded.to_pylist())
    dataset = find_dataset(workspace, release.manifest.dataset_hash)
    if dataset is None or dataset.product_ids() != index.product_ids:
        return None
    return list(product_contents(dataset).to_pylist())


def _write_merged(
    out: Path,
    newer: _NewerCatalogue,
    release: Release,
    index: ProductIndex,
    changes: CatalogueChanges,
    *,
    cache: Path,
) -> None:
    from mmr.stages.embedding import embed_queries  # loads torch

    parts = [index.products.take(pa.array(changes.reused_from))]
    blocks = _reused_blocks(index, changes)
    if len(changes.embedded):
        rows, embedded = _embed_rows(newer, release, changes, cache=cache)
        parts.append(rows.select(parts[0].column_names))
        blocks = chain(blocks, [(changes.embedded, embedded.vectors)])
    order = np.argsort(np.concatenate([changes.reused, changes.embedded]))
    products = pa.concat_tables(parts).take(pa.array(order))
    queries = exam_of(newer.data, release).queries["query"].tolist()
    write_vectors(
        out,
        blocks,
        products=_renamed(products, newer.rows),
        queries=embed_queries(release.model_dir, queries, cache=cache),
        encoder_fingerprint=release.manifest.encoder_fingerprint,
        dataset_hash=newer.data.manifest.content_hash,
    )


def _renamed(products: pa.Table, own: pa.Table) -> pa.Table:
    """Rows that came with the ids of a release, with those of the catalogue."""
    for name in own.column_names:
        products = products.set_column(products.column_names.index(name), name, own[name])
    return products


def _reused_blocks(index: ProductIndex, changes: CatalogueChanges) -> Iterator[VectorBlock]:
    """Vectors of the champion, a block of its index at a time."""
    order = np.argsort(changes.reused_from, kind="stable")
    sources, targets = changes.reused_from[order], changes.reused[order]
    for start in range(0, len(index), _BLOCK_ROWS):
        count = min(_BLOCK_ROWS, len(index) - start)
        first, last = np.searchsorted(sources, [start, start + count])
        if first < last:
            block = index.vectors(start, count)
            yield targets[first:last], block[sources[first:last] - start]


def _embed_rows(
    newer: _NewerCatalogue, release: Release, changes: CatalogueChanges, *, cache: Path
) -> tuple[pa.Table, ProductEmbeddings]:
    """Embeds some products, as a dataset of their own."""
    from mmr.stages.embedding import embed_products  # loads torch

    with tempfile.TemporaryDirectory() as directory:
        part = _part_of(newer.data, changes, Path(directory) / "changed")
        embedded = embed_products(release.model_dir, part, cache=cache, words=newer.words)
        return product_rows(part, embedded), embedded


def _part_of(data: Dataset, changes: CatalogueChanges, out: Path) -> Dataset:
    wanted = np.zeros(len(data), dtype=np.bool_)
    wanted[changes.embedded] = True
    with new_dataset(out, attributes={}) as writer:
        row = 0
        for batch in data.product_batches(_PRODUCT_COLUMNS):
            mask = pa.array(wanted[row : row + batch.num_rows])
            writer.add_products(batch.filter(mask).to_pylist())
            row += batch.num_rows
        writer.set_queries(pd.DataFrame(columns=list(QUERY_COLUMNS)))
        writer.set_judgements(pd.DataFrame(columns=list(JUDGEMENT_COLUMNS)))
        writer.finish(name=data.manifest.name, prepared=data.manifest.prepared)
    return Dataset(out)
