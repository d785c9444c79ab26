"""A profile of generated queries, and records as the live model writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from mmr.config.monitor import MonitorConfig
from mmr.monitoring.reference import fit_profile, score_reference
from mmr.monitoring.report import MonitorReport, summarise
from mmr.monitoring.tally import RawLine, Tally, Window
from mmr.release.query_profile import QueryPlacer
from mmr.release.query_words import word_key
from mmr.types import Float32Array

DIM = 24
COLOURS = ("white", "black", "red", "green", "blue", "oak", "grey", "yellow", "pink", "brass")
TYPES = ("wardrobe", "table", "chair", "lamp", "sofa", "shelf", "bed", "desk", "rug", "vase")
PLACES = ("kitchen", "garden", "office", "hall", "bath")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CATALOGUE = frozenset(f"p{number}" for number in range(100))


@cache
def _word(word: str) -> Float32Array:
    return np.random.default_rng(int(word_key(word), 16)).normal(size=DIM).astype(np.float32)


def encode(texts: Sequence[str]) -> Float32Array:
    """A bag of words, unit length: like words, like places."""
    rows = np.array([sum(map(_word, text.split())) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def draw(rng: np.random.Generator, count: int, **replaced: Sequence[str]) -> list[str]:
    """Queries of a colour, a type and a place, each drawn evenly."""
    parts = {"colours": COLOURS, "types": TYPES, "places": PLACES} | replaced
    return [" ".join(str(rng.choice(part)) for part in parts.values()) for _ in range(count)]


class Shop:
    """A release's profile, and what its live model would log."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        every = [f"{c} {t} {p}" for c in COLOURS for t in TYPES for p in PLACES]
        profile = fit_profile(every, encode, encoder_fingerprint="f")
        assert profile is not None
        scores = score_reference([0.5 + n / 400 for n in range(200)])
        self.profile = profile.model_copy(update={"scores": scores})
        self.placer = QueryPlacer(self.profile)

    def records(self, texts: Sequence[str], **changes: Any) -> list[dict[str, Any]]:
        """One record for each query, a second apart, newest last."""
        bins = self.placer.bins(encode(texts)) if texts else []
        made = []
        for row, text in enumerate(texts):
            when = NOW - timedelta(seconds=len(texts) - row)
            words, new = self.placer.count_words(text)
            record = {
                "time": when.isoformat(timespec="seconds"),
                "release_id": "a" * 16,
                "route": "live",
                "query": text,
                "k": 10,
                "results": 10,
                "top_score": 0.8,
                "bins": bins[row].tolist(),
                "shown": [f"p{(row + n) % 100}" for n in range(10)],
                "error": None,
                "latency_ms": 3.0 + (row % 20) / 10,
                "share": 1.0,
                "words": words,
                "new_words": new,
            }
            made.append({**record, **changes})
        return made


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop()


@pytest.fixture
def tally(shop: Shop) -> Callable[..., Tally]:
    def make(*, with_profile: bool = True, days: float = 7) -> Tally:
        return Tally(
            window=Window(NOW - timedelta(days=days), NOW),
            release_id="a" * 16,
            placer=shop.placer if with_profile else None,
            catalogue=CATALOGUE,
        )

    return make


@pytest.fixture
def look(tally: Callable[..., Tally]) -> Callable[..., MonitorReport]:
    """Reads records, as dictionaries, and judges them."""

    def see(
        records: Sequence[dict[str, Any]],
        config: MonitorConfig | None = None,
        *,
        with_profile: bool = True,
    ) -> MonitorReport:
        counted = tally(with_profile=with_profile)
        counted.read(
            RawLine(f"a.jsonl:{n}", json.dumps(record).encode(), unfinished=False)
            for n, record in enumerate(records, start=1)
        )
        return summarise(counted, config or MonitorConfig(), made_at=NOW.isoformat())

    return see


@pytest.fixture
def drawn(shop: Shop) -> Callable[..., list[str]]:
    """Draws queries; other words in place of the usual ones make drift."""

    def queries(count: int, **replaced: Sequence[str]) -> list[str]:
        return draw(np.random.default_rng(count), count, **replaced)

    return queries
