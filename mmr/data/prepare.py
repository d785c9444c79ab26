"""From an imported dataset to one that can be trained on: split queries, equal images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.atomic import new_directory
from mmr.config.data import PrepareConfig
from mmr.data.dataset import COLD_START, PRODUCT_FIELDS, Dataset, DatasetManifest
from mmr.data.images import ImageLimits, ImageProblemError, map_in_order, normalise_image
from mmr.data.split import cold_start_ids, judged_only_outside_train, split_queries
from mmr.data.writer import DatasetWriter
from mmr.errors import DataContractError
from mmr.hashing import files_below
from mmr.progress import progress_bar

_ALL_KINDS = "all"  # the kind of queries whose feed names none
_SHOWN = 5
_LIMITS = ImageLimits(max_bytes=2**40, max_pixels=89_000_000)  # the import held its own already


@dataclass(frozen=True)
class PrepareReport:
    """What preparation did.

    Attributes:
        out: The prepared dataset.
        linked: Whether the dataset was prepared already and only linked.
        split: `given` by the feed, or `computed`.
        images_changed: Images that were scaled or re-encoded.
        cold_start_products: Products marked as cold start.
        judgements_removed: Train judgements of cold-start products that were taken out.
        content_hash: Identity of the prepared dataset.
    """

    out: Path
    linked: bool
    split: str
    images_changed: int
    cold_start_products: int
    judgements_removed: int
    content_hash: str

    def as_metrics(self) -> dict[str, float]:
        """Counts, for a tracker or a pipeline's metrics."""
        return {
            "images_changed": self.images_changed,
            "cold_start_products": self.cold_start_products,
            "judgements_removed": self.judgements_removed,
        }


@dataclass(frozen=True)
class _Plan:
    """What each product and query becomes, decided before images are touched."""

    queries: pd.DataFrame
    judgements: pd.DataFrame
    cold_start: set[str] | None  # None: declared by the feed, product by product
    split: str
    removed: int


def prepare_dataset(
    dataset: Dataset, *, out: Path, settings: PrepareConfig, replace: bool = False
) -> PrepareReport:
    """Writes the prepared dataset, which appears at `out` when it is whole.

    Args:
        dataset: An imported dataset, or a prepared one.
        out: The dataset to write.
        settings: Image size, shares and seed.
        replace: Whether a dataset at `out` may be replaced.

    Raises:
        DataContractError: Some queries have a split and some have none, or an image is damaged.
        ArtifactError: `out` exists and may not be replaced.
    """
    prepared = dataset.manifest.prepared
    if prepared and prepared.get("settings") == settings.model_dump():
        return _link(dataset, out, replace=replace)
    plan = _plan(dataset, settings)
    attributes = _attribute_types(dataset)
    counts = {"cold": 0, "changed": 0}
    with new_directory(out, replace=replace) as scratch:
        writer = DatasetWriter(scratch, attributes)
        with progress_bar("prepare products", len(dataset)) as bar:
            for product, changed in _products(dataset, plan, settings):
                counts["cold"] += bool(product[COLD_START])
                counts["changed"] += changed
                writer.add_products([product])
                bar.advance()
        writer.set_queries(plan.queries)
        writer.set_judgements(plan.judgements)
        report = {
            "split": plan.split,
            "images_changed": counts["changed"],
            "cold_start_products": counts["cold"],
            "judgements_removed": plan.removed,
        }
        source = {"settings": settings.model_dump(), "source": dataset.manifest.content_hash}
        manifest = writer.finish(
            name=dataset.manifest.name,
            prepared={**source, **report},
            as_of=dataset.manifest.as_of,
        )
    return _report(out, manifest, linked=False)


def _report(out: Path, manifest: DatasetManifest, *, linked: bool) -> PrepareReport:
    record: dict[str, Any] = manifest.prepared or {}
    return PrepareReport(
        out=out,
        linked=linked,
        split=record["split"],
        images_changed=record["images_changed"],
        cold_start_products=record["cold_start_products"],
        judgements_removed=record["judgements_removed"],
        content_hash=manifest.content_hash,
    )


def _link(dataset: Dataset, out: Path, *, replace: bool) -> PrepareReport:
    """Gives the same files a second name; across file systems they are copied."""
    with new_directory(out, replace=replace) as scratch:
        for file in files_below(dataset.path):
            target = scratch / file.relative_to(dataset.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file.resolve(), target)
            except OSError:
                shutil.copyfile(file, target)
    return _report(out, dataset.manifest, linked=True)


def _attribute_types(dataset: Dataset) -> dict[str, pa.DataType]:
    schema = pq.read_schema(dataset.shards[0])
    types = {name: schema.field(name).type for name in schema.names if name not in PRODUCT_FIELDS}
    return {**types, COLD_START: pa.bool_()}


def _plan(dataset: Dataset, settings: PrepareConfig) -> _Plan:
    queries, judgements = dataset.queries(), dataset.judgements()
    queries["kind"] = queries["kind"].fillna("").replace("", _ALL_KINDS)
    queries["split"] = queries["split"].fillna("")
    declared = COLD_START in dataset.manifest.attributes
    unsplit = queries["split"] == ""
    if not unsplit.any():
        train = queries.loc[queries["split"] == "train", "query_id"]
        cold = None if declared else judged_only_outside_train(judgements, train)
        return _Plan(queries, judgements, cold, "given", 0)
    if not unsplit.all():
        ids = ", ".join(queries.loc[unsplit, "query_id"].head(_SHOWN))
        raise DataContractError(
            f"{dataset.path}: {unsplit.sum()} of {len(queries)} queries have no split ({ids} …), "
            "the others have one. Give every query a split, or none, then import again."
        )
    queries["split"] = split_queries(queries["query"].tolist(), settings)
    table = dataset.product_table(["product_id", "title", *([COLD_START] if declared else [])])
    ids = table["product_id"].to_pylist()
    if declared:
        flags = table[COLD_START].to_pylist()
        cold_ids = {product_id for product_id, flag in zip(ids, flags, strict=True) if flag}
    else:
        cold_ids = cold_start_ids(ids, table["title"].to_pylist(), settings)
    train = queries.loc[queries["split"] == "train", "query_id"]
    leaks = judgements["query_id"].isin(train) & judgements["product_id"].isin(cold_ids)
    kept = judgements[~leaks].reset_index(drop=True)
    return _Plan(queries, kept, None if declared else cold_ids, "computed", int(leaks.sum()))


def _products(
    dataset: Dataset, plan: _Plan, settings: PrepareConfig
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yields each product and whether its image was changed."""

    def make(product: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        if plan.cold_start is None:
            product[COLD_START] = bool(product[COLD_START])
        else:
            product[COLD_START] = product["product_id"] in plan.cold_start
        image = product["image"]
        if image is None or image["bytes"] is None:
            return {**product, "image": None}, False
        try:
            data = normalise_image(
                image["bytes"],
                longest_px=settings.image_px,
                quality=settings.jpeg_quality,
                limits=_LIMITS,
            )
        except ImageProblemError as error:
            raise DataContractError(
                f"{dataset.path}: the image of product {product['product_id']!r} {error}. "
                "Import the feed again."
            ) from error
        changed = data is not image["bytes"]
        path = str(Path(image["path"]).with_suffix(".jpg")) if changed and image["path"] else None
        return {**product, "image": {"bytes": data, "path": path or image["path"]}}, changed

    rows = (row for batch in dataset.product_batches() for row in batch.to_pylist())
    yield from map_in_order(make, rows)
