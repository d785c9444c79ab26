"""A shop to monitor: a release that serves, and customers who ask usual or drifted queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.monitoring.reference import fit_profile
from mmr.release.bundle import Release
from mmr.release.query_profile import QueryPlacer, QueryProfile
from mmr.workspace import Workspace
from serving.active import ActiveVersion
from serving.live.traffic import LiveTraffic
from serving.models.engine import Answer, Question
from serving.models.requests import RequestOptions
from serving.repository import ModelRepository
from tests.monitoring.conftest import COLOURS, PLACES, TYPES, draw, encode
from tests.sealing import seal_release

FINGERPRINT = "f" * 64
PRODUCTS = 40
DRIFTED = [f"oak hammock{n} terrace" for n in range(400)]
USUAL = draw(np.random.default_rng(2), 900)


class Shop:
    """A workspace that serves a release, and customers who ask."""

    def __init__(self, path: Path) -> None:
        self.workspace = Workspace.open(path, create=True)
        self.release = self.add_release("2026-01-01T00:00:00+00:00", with_profile=True)
        ModelRepository(self.workspace.serving).set_active(
            ActiveVersion(1, self.release.release_id)
        )

    def add_release(
        self, created_at: str, *, with_profile: bool, parent: str | None = None, ndcg: float = 0.5
    ) -> Release:
        draft = self.workspace.releases / "draft"
        (draft / "index").mkdir(parents=True)
        ids = [f"p{number}" for number in range(PRODUCTS)]
        table = pa.table({"product_id": ids, "title": ids})
        flags = {"has_text": [True] * PRODUCTS, "has_image": [False] * PRODUCTS}
        for name, values in flags.items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, draft / "index" / "products.parquet")
        if with_profile:
            every = [f"{c} {t} {p}" for c in COLOURS for t in TYPES for p in PLACES]
            profile = fit_profile(every, encode, encoder_fingerprint=FINGERPRINT)
            assert profile is not None
            profile.write(draft)
        manifest = seal_release(
            draft,
            fingerprint=FINGERPRINT,
            dim=24,
            created_at=created_at,
            metrics={"ndcg": ndcg},
            parent_release=parent,
        )
        draft.rename(self.workspace.releases / manifest.release_id)
        return Release.open(self.workspace.releases / manifest.release_id)

    def ask(self, texts: list[str], *, failing: int = 0) -> None:
        """Logs queries with the live model's own code."""
        profile = QueryProfile.read(self.release.path, encoder_fingerprint=FINGERPRINT)
        placer = QueryPlacer(profile) if profile else None
        traffic = LiveTraffic(
            self.workspace.serving,
            release_id=self.release.release_id,
            answer=lambda question: self._answer(question, placer),
            ask=lambda question, trial: self._answer(question, placer),
            warn=pytest.fail,
            placer=placer,
        )
        for text in texts:
            question = Question([text], k=3)
            traffic.answered(question, RequestOptions(), self._answer(question, placer), 2.0)
        for _ in range(failing):
            traffic.failed(Question(["oak"], k=3), RequestOptions(), MemoryError("full"), 9.0)
        traffic.close()

    def _answer(self, question: Question, placer: QueryPlacer | None) -> Answer:
        first = len(question.texts[0]) % (PRODUCTS - 3)
        ids = np.array([[f"p{first + n}".encode() for n in range(3)]], dtype=np.object_)
        bins = placer.bins(encode(question.texts)) if placer else None
        return Answer(ids, np.array([[0.9, 0.8, 0.7]], dtype=np.float32), ids, bins)

    @property
    def path(self) -> str:
        return str(self.workspace.path)
