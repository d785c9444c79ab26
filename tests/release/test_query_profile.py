"""What a release remembers of its training queries: read, refused, and asked about live ones."""

import bisect
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr.errors import CorruptArtifactError, IndexMismatchError
from mmr.monitoring.reference import AXES, BINS, MIN_SCORED, fit_profile, score_reference
from mmr.release.query_profile import LENGTHS, QueryPlacer, QueryProfile
from mmr.release.query_words import normalise_query, word_key, words_of
from mmr.types import Float32Array

DIM = 16
WORDS = ("white", "oak", "lamp", "sofa", "round", "large", "garden", "desk")
QUERIES = [f"{one} {other} {n % 7}" for n, one in enumerate(WORDS * 8) for other in WORDS]
FINGERPRINT = "f" * 64


def encode(texts: Sequence[str]) -> Float32Array:
    """A bag of hashed words, unit length: like words, like places."""
    rows = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            rng = np.random.default_rng(int(word_key(word), 16))
            rows[row] += rng.normal(size=DIM).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@cache
def fitted() -> QueryProfile:
    found = fit_profile(QUERIES, encode, encoder_fingerprint=FINGERPRINT)
    assert found is not None
    return found


@pytest.fixture
def profile() -> QueryProfile:
    return fitted()


def test_bins_hold_a_tenth_of_the_training_queries_each(profile: QueryProfile) -> None:
    assert len(profile.axes) == AXES
    assert profile.queries == profile.placed == len(set(QUERIES))
    for axis in profile.axes:
        assert len(axis.expected) == BINS
        assert sum(axis.expected) == profile.placed
        assert max(axis.expected) - min(axis.expected) < 0.06 * profile.placed


def test_axes_are_unit_vectors_at_right_angles_of_falling_variance(profile: QueryProfile) -> None:
    directions = np.array([axis.direction for axis in profile.axes])
    np.testing.assert_allclose(directions @ directions.T, np.eye(AXES), atol=1e-4)
    explained = [axis.explained for axis in profile.axes]
    assert explained == sorted(explained, reverse=True)
    projections = (encode(sorted(set(QUERIES))) - np.array(profile.mean)) @ directions.T
    variances = projections.var(axis=0)
    assert (np.diff(variances) < 1e-6).all()


def test_training_queries_fall_where_the_profile_counted_them(profile: QueryProfile) -> None:
    bins = QueryPlacer(profile).bins(encode(sorted(set(QUERIES))))
    for number, axis in enumerate(profile.axes):
        found = np.bincount(bins[:, number], minlength=BINS)
        assert np.abs(found - axis.expected).sum() <= 4  # of float32 beside an edge


@settings(deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "zebra", "42cm"]), min_size=1, max_size=12))
def test_placing_is_what_a_slow_reading_of_the_profile_gives(words: list[str]) -> None:
    profile = fitted()
    text = " ".join(words)
    (vector,) = encode([text])
    slow = []
    for axis in profile.axes:
        parts = zip(vector.tolist(), profile.mean, axis.direction, strict=True)
        place = sum((value - mean) * weight for value, mean, weight in parts)
        if min(abs(place - edge) for edge in axis.edges) < 1e-5:
            return  # beside an edge float32 may fall either way
        slow.append(bisect.bisect_right(axis.edges, place))
    placer = QueryPlacer(profile)
    assert placer.bins(vector[None])[0].tolist() == slow
    seen = {word for query in QUERIES for word in query.split()}
    assert placer.count_words(text) == (len(words), sum(word not in seen for word in words))


def test_share_of_new_words_to_expect_is_that_of_words_seen_once() -> None:
    profile = fit_profile(["oak desk", "Oak  DESK", "oak lamp"], encode, encoder_fingerprint="f")
    assert profile is not None
    counted = Counter(["oak", "desk", "oak", "lamp"])
    assert profile.new_word_share == sum(n == 1 for n in counted.values()) / 4
    assert profile.lengths == [0, 0, 2] + [0] * (LENGTHS - 3)


def test_profile_cannot_be_read_back_into_words_or_queries(
    profile: QueryProfile, tmp_path: Path
) -> None:
    profile.write(tmp_path)
    text = (tmp_path / "query_profile" / "profile.json").read_text()
    assert not any(word in text for word in ("wardrobe", *WORDS))


def test_same_queries_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    for name, queries in (("a", QUERIES), ("b", QUERIES[::-1])):
        profile = fit_profile(queries, encode, encoder_fingerprint="f")
        assert profile is not None
        profile.write(tmp_path / name)
    one, other = (tmp_path / name / "query_profile" / "profile.json" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_without_queries_there_is_no_profile(texts: list[str]) -> None:
    assert fit_profile(texts, encode, encoder_fingerprint="f") is None


@pytest.mark.parametrize("texts", [["oak"], ["oak", "lamp"], ["oak desk"] * 9])
def test_a_handful_of_queries_is_described_all_the_same(texts: list[str], tmp_path: Path) -> None:
    profile = fit_profile(texts, encode, encoder_fingerprint="f")
    assert profile is not None
    profile.write(tmp_path)
    assert QueryProfile.read(tmp_path, encoder_fingerprint="f") == profile
    assert QueryPlacer(profile).bins(encode(["sofa"])).shape == (1, len(profile.axes))


def test_low_score_is_the_fifth_percentile_of_enough_queries() -> None:
    scores = [n / 100 for n in range(101)]
    reference = score_reference(scores)
    assert reference is not None
    assert (reference.queries, reference.low) == (101, 0.05)
    assert score_reference(scores[: MIN_SCORED - 1]) is None


def test_release_without_a_profile_has_none(tmp_path: Path) -> None:
    assert QueryProfile.read(tmp_path, encoder_fingerprint="f") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(mean=record["mean"][:-1]),
        lambda record: record["axes"][0]["expected"].pop(),
        lambda record: record["axes"][0]["edges"].reverse(),
        lambda record: record.update(queries="many"),
        lambda record: record.update(format_version=2),
        lambda record: record.update(code="import os"),
        lambda record: record["lengths"].pop(),
    ],
)
def test_damaged_profile_is_named(profile: QueryProfile, tmp_path: Path, damage) -> None:
    profile.write(tmp_path)
    path = tmp_path / "query_profile" / "profile.json"
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(CorruptArtifactError, match=r"profile\.json cannot be read"):
        QueryProfile.read(tmp_path, encoder_fingerprint=FINGERPRINT)


def test_profile_of_another_encoder_is_refused_with_both(
    profile: QueryProfile, tmp_path: Path
) -> None:
    profile.write(tmp_path)
    with pytest.raises(IndexMismatchError, match=f"{FINGERPRINT}.*serves other"):
        QueryProfile.read(tmp_path, encoder_fingerprint="other")


def test_what_was_masked_is_no_word() -> None:
    query = normalise_query("Gift for ann@example.com 030 1234567 café-table")
    assert words_of(query) == ["gift", "for", "café", "table"]
