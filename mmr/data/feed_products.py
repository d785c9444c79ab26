"""Product rows of a feed: fields, free attributes, images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmr.config.data import ImportConfig
from mmr.data.dataset import COLD_START, PRODUCT_FIELDS
from mmr.data.feed import Table
from mmr.data.formats import FeedRow, read_rows
from mmr.data.images import ImageLimits, ImageProblemError, map_in_order
from mmr.data.rejects import Reject, RejectError, RejectLog
from mmr.data.sound_images import SoundImages
from mmr.data.text import as_text, clean_text, has_forbidden
from mmr.progress import Bar

PRODUCT_REQUIRED = ("product_id", "title")
PRODUCT_COLUMNS = (*PRODUCT_FIELDS, COLD_START)
_TRUE, _FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def attribute_types(table: Table) -> dict[str, pa.DataType]:
    """Free attributes of the products: text, but `cold_start`, which is a truth value."""
    types = {name: pa.string() for name in table.others}
    if COLD_START in table.columns:
        types[COLD_START] = pa.bool_()
    return types


@dataclass
class ProductCount:
    """What was met while the products were read.

    Attributes:
        first_seen: Product id to the file and line of its first row.
        rejected_ids: Ids of rejected rows.
        accepted: Rows that became products.
        cleaned: Texts that had control characters.
    """

    first_seen: dict[str, tuple[Path, int]] = field(default_factory=dict)
    rejected_ids: set[str] = field(default_factory=set)
    accepted: int = 0
    cleaned: int = 0


@dataclass(frozen=True)
class _Draft:
    """A row whose text is read and whose image is still to be loaded."""

    row: FeedRow
    product: dict[str, Any]
    image: bytes | Path | None
    image_name: str | None
    reject: Reject | None = None
    is_repeat: bool = False


class _RepeatedIdError(RejectError):
    """The id stands on an earlier row."""


def read_products(
    table: Table,
    *,
    settings: ImportConfig,
    log: RejectLog,
    bar: Bar,
    count: ProductCount,
    images: SoundImages,
) -> Iterator[dict[str, Any]]:
    """Yields the products of a feed in its order and rejects the others; decodes unknown images.

    Args:
        table: The product files.
        settings: Limits and the image directory.
        log: Receives the rejected rows.
        bar: Advanced by one per row.
        count: Filled on the way; complete when the iteration ends.
        images: Those known to be sound.

    Raises:
        DataContractError: A file cannot be read, or far too many rows are rejected.
    """
    limits = ImageLimits(
        max_bytes=int(settings.max_image_mebibytes * 2**20),
        max_pixels=int(settings.max_image_megapixels * 1e6),
    )

    def finish(draft: _Draft) -> tuple[_Draft, dict[str, Any] | None, Reject | None]:
        if draft.reject:
            return draft, None, draft.reject
        try:
            return draft, {**draft.product, "image": _load_image(draft, limits, images)}, None
        except RejectError as error:
            return draft, None, _reject(draft.row, error)

    for draft, product, reject in map_in_order(finish, _drafts(table, settings, count)):
        bar.advance()
        if reject:
            log.add("product", reject, rows=table.rows)
            if not draft.is_repeat:
                count.rejected_ids.add(draft.product.get("product_id", ""))
        elif product:
            count.accepted += 1
            yield product


def _drafts(table: Table, settings: ImportConfig, count: ProductCount) -> Iterator[_Draft]:
    for file in table.files:
        for row in read_rows(file):
            product: dict[str, Any] = {}
            try:
                _read_text(row, table, product, count)
                image, name = _image_source(row, table, product["product_id"], settings)
                if image is None and not product["title"] and not product["description"]:
                    raise RejectError(None, "the product has no title, description or image")
                yield _Draft(row, product, image, name)
            except _RepeatedIdError as error:
                yield _Draft(row, product, None, None, _reject(row, error), is_repeat=True)
            except RejectError as error:
                yield _Draft(row, product, None, None, _reject(row, error))


def _read_text(row: FeedRow, table: Table, product: dict[str, Any], count: ProductCount) -> None:
    """Fills in the product's id, texts and attributes."""
    if row.problem:
        raise RejectError(None, row.problem)
    values = {name: row.values.get(column) for name, column in table.columns.items()}
    product_id = read_id("product_id", values["product_id"])
    if product_id in count.first_seen:
        file, line = count.first_seen[product_id]
        raise _RepeatedIdError(
            "product_id", f"{product_id!r} is taken already, by {file.name}:{line}"
        )
    product["product_id"] = product_id
    count.first_seen[product_id] = (row.file, row.line)
    texts = {name: as_text(values.get(name)) for name in ("title", "description")}
    texts |= {name: as_text(row.values.get(name)) for name in table.others}
    count.cleaned += sum(map(has_forbidden, texts.values()))
    product.update({name: clean_text(text) for name, text in texts.items()})
    if COLD_START in table.columns:
        product[COLD_START] = _read_bool(COLD_START, values[COLD_START])


def read_id(name: str, value: Any) -> str:
    """An id as text without outer white space.

    Raises:
        RejectError: It is empty or has control characters.
    """
    text = as_text(value).strip()
    if not text:
        raise RejectError(name, "is empty")
    if clean_text(text) != text or "\n" in text or "\t" in text:
        raise RejectError(name, f"{text!r} has control characters or broken Unicode")
    return text


def _read_bool(name: str, value: Any) -> bool | None:
    text = as_text(value).strip().lower()
    if not text:
        return None
    if text not in _TRUE and text not in _FALSE:
        raise RejectError(name, f"{text!r} is neither true nor false")
    return text in _TRUE


def _image_source(
    row: FeedRow, table: Table, product_id: str, settings: ImportConfig
) -> tuple[bytes | Path | None, str | None]:
    """Where the image's bytes are, and the name to record for it."""
    folder = settings.images or row.file.parent
    if "image" not in table.columns:
        return _image_by_id(settings.images, product_id)
    value = row.values.get(table.columns["image"])
    name: Any = value
    if isinstance(value, dict):
        name = value.get("path")
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value, as_text(name) or None if not isinstance(name, bytes) else None
    text = as_text(name).strip()
    if not text:
        return None, None
    if "://" in text or text.startswith("data:"):
        raise RejectError(
            "image",
            f"{text[:80]!r} is a URL, and the import fetches nothing",
            "download the images and give their directory with --images",
        )
    path = Path(text)
    return folder / path, path.name if path.is_absolute() else text


def _image_by_id(folder: Path | None, product_id: str) -> tuple[Path | None, str | None]:
    """Finds `FOLDER/<product_id>.jpg` where the feed itself names no images."""
    if folder is not None and "/" not in product_id:
        for suffix in _IMAGE_SUFFIXES:
            path = folder / f"{product_id}{suffix}"
            if path.is_file():
                return path, path.name
    return None, None


def _load_image(draft: _Draft, limits: ImageLimits, images: SoundImages) -> dict[str, Any] | None:
    if draft.image is None:
        return None
    try:
        data = (
            _read_image_file(draft.image, limits) if isinstance(draft.image, Path) else draft.image
        )
        images.size_of(data, limits)
    except ImageProblemError as error:
        name = f"{draft.image_name} " if draft.image_name else ""
        raise RejectError("image", f"{name}{error}") from error
    return {"bytes": data, "path": draft.image_name}


def _read_image_file(path: Path, limits: ImageLimits) -> bytes:
    try:
        if not path.is_file():
            raise ImageProblemError(f"is no file (looked for {path})")
        if path.stat().st_size > limits.max_bytes:
            raise ImageProblemError(f"has more than {limits.max_bytes / 2**20:g} MiB")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ImageProblemError(f"cannot be read: {error}") from error


def _reject(row: FeedRow, error: RejectError) -> Reject:
    return Reject(row.file, row.line, error.field, error.reason, error.cure)
