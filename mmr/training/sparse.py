"""Dense blocks out of sparse query-product tables, at the cost of what stands in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mmr.types import Int64Array


def dense_block(table: csr_array, rows: Int64Array, columns: Int64Array) -> NDArray[Any]:
    """`table[rows][:, columns]` as a dense array, without ever holding whole rows.

    Args:
        table: `(queries, products)`; a cell that is not stored is 0.
        rows: Rows of it, in any order.
        columns: Columns of it, ascending, each once.
    """
    block = np.zeros((len(rows), len(columns)), dtype=table.dtype)
    first, counts = table.indptr[rows], np.diff(table.indptr)[rows]
    row = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    stored = np.repeat(first, counts) + within
    column = np.searchsorted(columns, table.indices[stored])
    wanted = column < len(columns)
    wanted[wanted] = columns[column[wanted]] == table.indices[stored[wanted]]
    block[row[wanted], column[wanted]] = table.data[stored[wanted]]
    return block
