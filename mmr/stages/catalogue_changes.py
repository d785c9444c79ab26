"""What a feed changes in the catalogue of a release: new, changed, removed, and what is the same.

VECTORS/changes.json      counts
VECTORS/changes.parquet   product_id, change (`new`, `changed`, `removed`)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmr.atomic import write_json
from mmr.errors import ArtifactError, DataContractError
from mmr.types import Int64Array

CHANGES_FILE, CHANGES_TABLE = "changes.json", "changes.parquet"
_SHOWN = 5


@dataclass(frozen=True)
class CatalogueChanges:
    """How a catalogue differs from that of a release.

    Attributes:
        new, changed, removed: Product ids. A product whose content the release has not on record
            counts as changed.
        reused: Catalogue rows whose vector the release holds, because it holds their content.
        reused_from: For each of these, a row of the release's index with that content.
        embedded: All other catalogue rows.
    """

    new: list[str]
    changed: list[str]
    removed: list[str]
    reused: Int64Array
    reused_from: Int64Array
    embedded: Int64Array

    @property
    def is_empty(self) -> bool:
        """Whether the release holds exactly this catalogue."""
        return not (self.new or self.changed or self.removed)


@dataclass(frozen=True)
class ChangeReport:
    """How many products changed, and how many vectors had to be computed.

    Attributes:
        products: In the catalogue now.
        products_before: In the release.
        new, changed, removed: Products.
        reused: Vectors taken over from the release.
        embedded: Vectors computed.
    """

    products: int
    products_before: int
    new: int
    changed: int
    removed: int
    reused: int
    embedded: int

    @property
    def has_changes(self) -> bool:
        """Whether a new release is called for."""
        return bool(self.new or self.changed or self.removed)

    @property
    def removed_share(self) -> float:
        """Share of the release's products that are gone."""
        return self.removed / self.products_before

    def as_metrics(self) -> dict[str, float]:
        """The figures, for a tracker."""
        return {name: float(value) for name, value in asdict(self).items()}


def compare_catalogues(
    ids: Sequence[str],
    contents: Sequence[bytes],
    *,
    before_ids: Sequence[str],
    before_contents: Sequence[bytes] | None,
) -> CatalogueChanges:
    """Compares a catalogue with that of a release, product by product.

    An unchanged product keeps its own vector. Any other is found by content, whatever the id: a
    product that only got another id is not embedded again. Vectors of equal content may differ by
    about 1e-3: features are computed in bfloat16, whose rounding depends on the batch.

    Args:
        ids: Product ids of the catalogue.
        contents: Hash of each product's content.
        before_ids: Product ids of the release, by index row.
        before_contents: Their hashes; None where the release does not record them.
    """
    before: dict[str, bytes | None] = dict.fromkeys(before_ids)
    if before_contents is not None:
        before.update(zip(before_ids, before_contents, strict=True))
    rows = {name: row for row, name in enumerate(before_ids)}
    rows_by_content = {content: row for row, content in enumerate(before_contents or ())}
    found = [
        rows[name] if before.get(name) == content else rows_by_content.get(content)
        for name, content in zip(ids, contents, strict=True)
    ]
    now = set(ids)
    return CatalogueChanges(
        new=[name for name in ids if name not in before],
        changed=[
            name
            for name, content in zip(ids, contents, strict=True)
            if name in before and before[name] != content
        ],
        removed=[name for name in before_ids if name not in now],
        reused=_rows(row for row, source in enumerate(found) if source is not None),
        reused_from=_rows(source for source in found if source is not None),
        embedded=_rows(row for row, source in enumerate(found) if source is None),
    )


def refuse_foreign_catalogue(
    changes: CatalogueChanges, *, release_id: str, before: int, max_removed_share: float
) -> None:
    """Stops a refresh by a feed that is not this shop's, or is only part of it.

    Args:
        changes: What the feed changes.
        release_id: Of the release.
        before: Its products.
        max_removed_share: Share of them that may be gone.

    Raises:
        DataContractError: Too many products are gone.
    """
    share = len(changes.removed) / before
    if share <= max_removed_share:
        return
    if len(changes.removed) == before:
        raise DataContractError(
            f"The feed shares no product id with release {release_id} (there {changes.removed[0]!r}"
            f", here {changes.new[0]!r}), so it is another shop's. A refresh takes a newer feed of "
            "the same shop; `mmr run` trains for another one."
        )
    raise DataContractError(
        f"{len(changes.removed):,} of the {before:,} products of release {release_id} "
        f"({share:.1%}) are not in the feed, for example "
        f"{', '.join(map(repr, changes.removed[:_SHOWN]))}; allowed are {max_removed_share:.1%}. A "
        "refresh takes the whole catalogue, not the changes alone. If they are gone for good, "
        f"allow it with --set max_removed_share={_rounded_up(share)}."
    )


def write_changes(out: Path, changes: CatalogueChanges, *, before: int) -> ChangeReport:
    """Writes both files into an existing directory."""
    report = ChangeReport(
        products=len(changes.reused) + len(changes.embedded),
        products_before=before,
        new=len(changes.new),
        changed=len(changes.changed),
        removed=len(changes.removed),
        reused=len(changes.reused),
        embedded=len(changes.embedded),
    )
    kinds = {"new": changes.new, "changed": changes.changed, "removed": changes.removed}
    table = pd.DataFrame(
        [(name, kind) for kind, names in kinds.items() for name in names],
        columns=["product_id", "change"],
        dtype="str",
    )
    table.to_parquet(out / CHANGES_TABLE, index=False)
    write_json(out / CHANGES_FILE, asdict(report))
    return report


def read_report(directory: Path) -> ChangeReport:
    """Reads the counts.

    Raises:
        ArtifactError: The directory was not written by `embed_changes`.
    """
    try:
        return ChangeReport(**json.loads((directory / CHANGES_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(directory, error) from error


def read_kinds(directory: Path) -> dict[str, str]:
    """Reads the kind of change, `new`, `changed` or `removed`, by product id.

    Raises:
        ArtifactError: The directory was not written by `embed_changes`.
    """
    try:
        table = pd.read_parquet(directory / CHANGES_TABLE)
        return dict(zip(table["product_id"], table["change"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(directory, error) from error


def _unreadable(directory: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{directory} does not say what changed ({error!r}). Run the refresh again."
    )


def _rows(rows: Iterable[int]) -> Int64Array:
    return np.fromiter(rows, dtype=np.int64)


def _rounded_up(share: float) -> float:
    return min(1.0, math.ceil(share * 100) / 100)
