"""Keyword Enhancement: queries that led to the same product help each other."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from torch import Tensor
from torch.nn import functional as F

from mmr.config.techniques import KeywordSettings
from mmr.training.streams import Stream, random_stream
from mmr.types import Int64Array

_BLOCK = 1_024


class Siblings:
    """For each training query, the queries that share best-graded products with it.

    Overlap is the share of both queries' best-graded products that they have in common (Jaccard):
    "red sofa" and "crimson couch" overlap much, "red sofa" and "sofa" little.

    Args:
        grades: `(queries, products)` sparse; 0 is not judged.
        settings: How many siblings, and of which overlap.
        seed: Of the whole run.

    Attributes:
        overlaps: `(queries, queries)` sparse: the overlap of each query with its siblings.

    Source: MAKE (arXiv:2301.12646), Keyword Enhancement. How sibling queries are chosen is not
    public; sharing a product, and the overlap that ranks them, are our reading.
    """

    def __init__(self, grades: csr_array, *, settings: KeywordSettings, seed: int) -> None:
        self._grades, self._settings, self._seed = grades, settings, seed
        self.overlaps = _overlaps(_best(grades), settings)

    def grades(self) -> csr_array:
        """The judgements of all siblings, `(queries, products)`: the best grade among them."""
        linked = (self.overlaps > 0).astype(np.int32)
        extended = csr_array(self._grades.shape, dtype=np.int8)
        for grade in np.unique(self._grades.data):
            reached = linked @ (self._grades == grade).astype(np.int32)
            extended = extended.maximum((reached > 0).astype(np.int8) * np.int8(grade))
        return csr_array(extended)

    def draw(self, queries: Int64Array, *, step: int) -> Int64Array:
        """Some siblings of each query, `(queries, drawn)`; -1 where it has none."""
        random = random_stream(self._seed, Stream.SIBLINGS, step)
        pointers = self.overlaps.indptr
        first, count = pointers[queries], pointers[queries + 1] - pointers[queries]
        share = random.random((len(queries), self._settings.drawn))
        places = first[:, None] + (share * count[:, None]).astype(np.int64)
        known = np.where(count[:, None] > 0, places, 0)
        found = np.append(self.overlaps.indices, -1)[known]
        return np.where(count[:, None] > 0, found, -1).astype(np.int64)


def enriched(queries: Tensor, siblings: Tensor, *, known: Tensor, weight: float) -> Tensor:
    """Queries drawn towards the mean of their siblings.

        q' = n((1 - w) q + w mean_k s_k);  q' = q where there is no sibling

    Args:
        queries: `(queries, dim)`, unit length.
        siblings: `(queries, drawn, dim)`, unit length.
        known: `(queries, drawn)`, bool: which of them are there.
        weight: w; 0.5 is the mean of the query and its siblings' mean.

    Source: the form of OneSearch's keyword enhancement (arXiv:2509.03236), with sibling queries as
    the keywords; MAKE (arXiv:2301.12646) names the aim, its form is not public.
    """
    count = known.sum(1, keepdim=True)
    mean = (siblings * known.unsqueeze(-1)).sum(1) / count.clamp(min=1)
    mixed = F.normalize((1 - weight) * queries + weight * mean, dim=-1)
    return torch.where(count > 0, mixed, queries)


def _best(grades: csr_array) -> csr_array:
    """Which products have the best grade of their query, `(queries, products)`, 0 or 1."""
    best = np.repeat(grades.max(axis=1).toarray().ravel(), np.diff(grades.indptr))
    relevant = grades.astype(np.int32)  # a copy: zeros are taken out of it
    relevant.data[:] = grades.data == best
    relevant.eliminate_zeros()
    return relevant


def _overlaps(relevant: csr_array, settings: KeywordSettings) -> csr_array:
    """The Jaccard overlap of every query with those it overlaps most."""
    sizes = np.diff(relevant.indptr)
    rows, columns, values = [], [], []
    for start in range(0, relevant.shape[0], _BLOCK):
        common = coo_array(relevant[start : start + _BLOCK] @ relevant.T)
        query, sibling = common.row + start, common.col
        overlap = common.data / (sizes[query] + sizes[sibling] - common.data)
        wanted = (query != sibling) & (overlap >= settings.min_overlap) & (overlap > 0)
        query, sibling, overlap = query[wanted], sibling[wanted], overlap[wanted]
        order = np.lexsort((sibling, -overlap, query))
        query, sibling, overlap = query[order], sibling[order], overlap[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        near = place < settings.most
        rows.append(query[near])
        columns.append(sibling[near])
        values.append(overlap[near])
    queries = relevant.shape[0]
    return csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(queries, queries),
    )
