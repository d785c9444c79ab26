"""Faiss indexes that know which encoder they belong to. The only package that imports Faiss."""

from mmr.indexing.builder import IndexReport, build_product_index
from mmr.indexing.manifest import IndexManifest, read_manifest
from mmr.indexing.product_index import ProductIndex, check_pair
from mmr.indexing.vectors import (
    CONTENT_COLUMN,
    EXPANSION_COLUMN,
    WEIGHT_COLUMNS,
    read_products,
    recorded_words,
)

__all__ = [
    "CONTENT_COLUMN",
    "EXPANSION_COLUMN",
    "WEIGHT_COLUMNS",
    "IndexManifest",
    "IndexReport",
    "ProductIndex",
    "build_product_index",
    "check_pair",
    "read_manifest",
    "read_products",
    "recorded_words",
]
