"""Releases for the serving benchmarks: the encoder of a real release, product ids of their own.

Every variant holds the same products under ids that start with its letter, so that each answer
shows which release's index it came from.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmr.config.index import IndexConfig
from mmr.indexing import ProductIndex, build_product_index
from mmr.release.bundle import GoldenQuery, Release, seal, write_golden_queries
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.types import Float32Array

_DATASET = "0" * 64


class VariantMaker:
    """Embeds the titles of a release once, and makes releases of them.

    Args:
        source: A release directory.
        products: Products of each variant at most.
        threads: Threads of the embedding.
    """

    def __init__(self, source: Path, *, products: int, threads: int = 2) -> None:
        self._source = Release.open(source)
        self._encoder = OnnxQueryEncoder(self._source.query_encoder_dir, threads=threads)
        index = ProductIndex.open(
            self._source.index_dir, encoder_fingerprint=self._encoder.fingerprint
        )
        self.titles = [title or "product" for title in index.titles[:products]]
        self._vectors = self._encoder.encode(self.titles)

    def make(self, letter: str, releases: Path) -> Path:
        """Writes the release whose product ids are `letter-row`; returns its directory."""
        scratch = releases / f".variant-{letter}"
        shutil.rmtree(scratch, ignore_errors=True)
        release = scratch / "release"
        shutil.copytree(self._source.query_encoder_dir, release / "query_encoder")
        self._write_vectors(scratch / "vectors", letter)
        build_product_index(
            vectors=scratch / "vectors",
            queries=None,
            out=release / "index",
            settings=IndexConfig(),
        )
        self._write_golden(release, letter)
        manifest = seal(release, created_at=datetime.now(UTC).isoformat(), content=self._content())
        target = releases / manifest.release_id
        if not target.exists():
            release.rename(target)
        shutil.rmtree(scratch, ignore_errors=True)
        return target

    def _content(self) -> dict[str, object]:
        return {
            "encoder_fingerprint": self._encoder.fingerprint,
            "dim": self._encoder.dim,
            "dataset_hash": _DATASET,
            "dataset_revision": None,
            "git_revision": None,
            "mlflow_run_id": None,
            "metrics": {},
            "gate_decision": "promote",
        }

    def _write_vectors(self, directory: Path, letter: str) -> None:
        directory.mkdir(parents=True)
        np.save(directory / "vectors.npy", self._vectors)
        rows = len(self.titles)
        table = {
            "product_id": [f"{letter}-{row}" for row in range(rows)],
            "title": self.titles,
            "has_text": [True] * rows,
            "has_image": [False] * rows,
        }
        pq.write_table(pa.table(table), directory / "products.parquet")
        record = {
            "format_version": 1,
            "encoder_fingerprint": self._encoder.fingerprint,
            "dim": self._encoder.dim,
            "rows": rows,
            "dataset_hash": _DATASET,
        }
        (directory / "vectors.json").write_text(json.dumps(record))

    def _write_golden(self, release: Path, letter: str) -> None:
        texts = self.titles[:: max(1, len(self.titles) // 16)][:16]
        embeddings: Float32Array = self._encoder.encode(texts)
        index = ProductIndex.open(release / "index", encoder_fingerprint=self._encoder.fingerprint)
        rows, scores = index.search(embeddings, 10)
        write_golden_queries(
            release / "golden.json",
            [
                GoldenQuery(
                    text=text,
                    embedding=embedding.tolist(),
                    product_ids=[f"{letter}-{row}" for row in found],
                    scores=score.tolist(),
                )
                for text, embedding, found, score in zip(
                    texts, embeddings, rows, scores, strict=True
                )
            ],
        )
