"""Hard negatives, mined with the model that is being trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from mmr.config.techniques import HardNegativeSettings
from mmr.training.feed import AHEAD
from mmr.training.processes import share_weights
from mmr.training.sparse import dense_block
from mmr.training.streams import Stream, random_stream
from mmr.types import Int64Array

LAG = AHEAD + 1  # steps from a mining to the first batch that cannot have been made before it
_ANCHORS = 4  # positives of a query whose mean score stands for all of them
_QUERY_BLOCK = 256

Embed = Callable[[Int64Array], tuple[Tensor, Tensor]]


class HardNegatives(nn.Module):
    """The products that each training query's negatives are drawn from, mined anew now and then.

    A product is a hard negative of a query if it scores high, but below a share of what the query's
    best judged products score on average: what scores like a positive probably is one that nobody
    judged.

    Batches are made ahead of the step that uses them, so a table is drawn from only `LAG` steps
    after it was mined; the one before it is kept until then. Both are buffers and so lie in every
    checkpoint: a resumed run draws from what was mined with the weights of an earlier step, without
    having them.

    Args:
        grades: `(queries, products)` sparse: judged products of each query, never mined for it.
        never: `(queries, products)` sparse, bool: further cells that are never mined.
        settings: Numbers of the mining.
        seed: Of the whole run.

    Source: re-mining with the current model after ANCE (arXiv:2007.00808); the filter is
    NV-Retriever's TopK-PercPos (arXiv:2407.15831), with the mean of several positives in place of
    the only one, our reading.
    """

    tables: Tensor

    def __init__(
        self,
        grades: csr_array,
        *,
        never: csr_array | None,
        settings: HardNegativeSettings,
        seed: int,
    ) -> None:
        super().__init__()
        self._grades, self._never = grades, never
        self._settings, self._seed = settings, seed
        tables = torch.full((2, grades.shape[0], settings.depth), -1, dtype=torch.int32)
        self.register_buffer("tables", tables)

    def due(self, step: int) -> bool:
        """Whether products have to be mined at this step."""
        return step % self._settings.every == 0

    @torch.no_grad()
    def mine(self, embed: Embed, *, step: int) -> None:
        """Fills the table of this step's round.

        Args:
            embed: Products' rows to the embeddings of all training queries, `(queries, dim)`, and
                of these products, `(rows, dim)`.
            step: Names the round, and decides which products are scored if there are more than the
                pool holds.
        """
        random = random_stream(self._seed, Stream.MINING_POOL, step)
        anchors = self._anchors(random)
        rows = np.unique(np.concatenate([anchors[anchors >= 0], self._pool(random)]))
        queries, products = (embedded.float() for embedded in embed(rows))
        table = self.tables[(step // self._settings.every) % 2]
        table.fill_(-1)
        for start in range(0, len(queries), _QUERY_BLOCK):
            block = slice(start, start + _QUERY_BLOCK)
            scores = _product(queries[block], products)  # (block, rows)
            limit = self._limits(scores, anchors[block], rows)
            taboo = self._taboo(block, rows).to(scores.device) | (scores >= limit)
            best = scores.masked_fill(taboo, float("-inf")).topk(min(table.shape[1], len(rows)))
            found = torch.from_numpy(rows).to(best.indices.device)[best.indices]
            found = found.masked_fill(best.values.isinf(), -1)
            table[block, : found.shape[1]] = found.to(table)
        share_weights(self)  # near ties may fall differently on another device

    def draw(self, queries: Int64Array, step: int) -> Int64Array:
        """Some hard negatives of each of these queries, as rows of the catalogue."""
        if step < LAG:
            return np.empty(0, dtype=np.int64)
        mined = (step - LAG) // self._settings.every
        table = self.tables[mined % 2, torch.from_numpy(queries)].cpu().numpy()
        known = (table >= 0).sum(1)  # they stand first, best first
        random = random_stream(self._seed, Stream.HARD_NEGATIVES, step)
        share = random.random((len(queries), self._settings.count))
        columns = (share * known[:, None]).astype(np.int64)
        drawn = np.take_along_axis(table, columns, axis=1)[known > 0]
        return np.unique(drawn).astype(np.int64)

    def _anchors(self, random: np.random.Generator) -> Int64Array:
        """A few of each query's best-graded products, `(queries, anchors)`; -1 where too few."""
        anchors = np.full((self._grades.shape[0], _ANCHORS), -1, dtype=np.int64)
        pointers = self._grades.indptr
        for query in range(len(anchors)):
            span = slice(pointers[query], pointers[query + 1])
            products, grades = self._grades.indices[span], self._grades.data[span]
            best = products[grades == grades.max()]
            if len(best) > _ANCHORS:
                best = random.choice(best, _ANCHORS, replace=False)
            anchors[query, : len(best)] = best
        return anchors

    def _pool(self, random: np.random.Generator) -> Int64Array:
        products, size = self._grades.shape[1], self._settings.pool
        if products <= size:
            return np.arange(products, dtype=np.int64)
        return random.choice(products, size, replace=False).astype(np.int64)

    def _limits(self, scores: Tensor, anchors: Int64Array, rows: Int64Array) -> Tensor:
        """The score that a hard negative must stay below, `(queries, 1)`."""
        columns = torch.from_numpy(np.searchsorted(rows, anchors)).to(scores.device)
        present = torch.from_numpy(anchors >= 0).to(scores.device)
        found = scores.gather(1, columns.clamp(max=len(rows) - 1))
        mean = torch.where(present, found, 0.0).sum(1, keepdim=True) / present.sum(1, keepdim=True)
        return mean - (1 - self._settings.ceiling) * mean.abs()

    def _taboo(self, block: slice, rows: Int64Array) -> Tensor:
        queries = np.arange(*block.indices(self._grades.shape[0]))
        taboo = dense_block(self._grades, queries, rows) > 0
        if self._never is not None:
            taboo |= dense_block(self._never, queries, rows) > 0
        return torch.from_numpy(taboo)


def _product(queries: Tensor, products: Tensor) -> Tensor:
    """`(queries, products)` cosines in full precision, whatever the loop computes in."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ products.T
