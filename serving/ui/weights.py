"""How much text and image weigh in each product of a release, as the release states it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from mmr.errors import MmrError
from mmr.indexing import read_products
from serving.models.served_release import ServedRelease


@dataclass(frozen=True)
class ProductWeights:
    """Shares of text and image in a product's vector; what is missing to 1 is of both together."""

    text: float
    image: float


class ReleaseWeights:
    """Reads the weights of the releases that answer, each once.

    Args:
        releases: Where releases lie, each in a directory of its id.
        elsewhere: Directories of releases that lie in other places, by id.
    """

    def __init__(self, releases: Path, *, elsewhere: Mapping[str, Path] | None = None) -> None:
        self._releases, self._elsewhere = releases, dict(elsewhere or {})
        self._lock = Lock()
        self._tables: dict[str, pa.Table | str] = {}

    def of(
        self, release_id: str, product_ids: Sequence[str]
    ) -> tuple[dict[str, ProductWeights], str]:
        """The weights of some products, and why there are none where there are none.

        A release that is not here, that is damaged, or that is older than the weights is no error:
        the page can do without them.
        """
        found = self._table(release_id)
        if isinstance(found, str):
            return {}, found
        rows = pc.index_in(pa.array(product_ids, pa.string()), value_set=found["product_id"])
        known = pc.drop_null(rows)
        if not len(known):
            return {}, ""
        weighed = found.take(known).to_pylist()
        return {
            row["product_id"]: ProductWeights(row["text_weight"], row["image_weight"])
            for row in weighed
            if row["text_weight"] is not None and row["image_weight"] is not None
        }, ""

    def _table(self, release_id: str) -> "pa.Table | str":
        with self._lock:
            if release_id not in self._tables:
                self._tables[release_id] = self._read(release_id)
            return self._tables[release_id]

    def _read(self, release_id: str) -> "pa.Table | str":
        path = self._elsewhere.get(release_id, self._releases / release_id)
        if not path.is_dir():
            return f"Weights unknown: release {release_id} is not in {self._releases}."
        try:
            ServedRelease.open(path, parts=("index",))  # checks the hashes before anything is read
            table = read_products(path / "index" / "products.parquet")
        except MmrError as error:
            return f"Weights unknown: {error}"
        if table["text_weight"].null_count == table.num_rows:
            return (
                "This release states no weights: it is older than they are, or its fusion mixes "
                "channel by channel. `mmr explain` measures what each modality does."
            )
        return table.select(["product_id", "text_weight", "image_weight"]).combine_chunks()
