"""Product photographs by product id, from the dataset that the release was built on."""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from threading import Lock

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmr.data.dataset import Dataset
from mmr.data.images import ImageProblemError, normalise_image

_LONGEST_PX = 360  # the page shows them at up to 180 CSS pixels, on screens of two pixels each
_QUALITY = 85
_KEPT = 2_048  # pictures in memory, about 15 kB each


class Pictures:
    """Finds, checks and shrinks photographs; they come from a feed and are never trusted.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._product_ids = dataset.product_table(["product_id"])["product_id"]
        self._groups = [
            (shard, group, pq.ParquetFile(shard).metadata.row_group(group).num_rows)
            for shard in dataset.shards
            for group in range(pq.ParquetFile(shard).metadata.num_row_groups)
        ]
        self._starts = [0, *accumulate(rows for _, _, rows in self._groups)]
        self._lock = Lock()
        self.jpeg = lru_cache(_KEPT)(self._jpeg)

    def _jpeg(self, product_id: str) -> bytes | None:
        """A small JPEG; None for an unknown product, a missing picture, and a broken one."""
        row = pc.index(self._product_ids, product_id).as_py()
        if row < 0:
            return None
        with self._lock:
            data = self._stored(row)
        if not data:
            return None
        try:
            return normalise_image(data, longest_px=_LONGEST_PX, quality=_QUALITY)
        except ImageProblemError:
            return None

    def _stored(self, row: int) -> bytes | None:
        place = bisect_right(self._starts, row) - 1
        shard, group, _ = self._groups[place]
        with pq.ParquetFile(shard) as file:
            images = file.read_row_group(group, columns=["image"])["image"]
        image = images[row - self._starts[place]].as_py()
        return image["bytes"] if image else None
