"""The disk is full at every write of an index and of a release: nothing half-written stays."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mmr.config.index import IndexConfig
from mmr.indexing import build_product_index, check_pair
from mmr.release.bundle import Release
from mmr.stages.register_release import register_release
from mmr.tracking import InMemoryTracking
from tests.faults import injector, shop
from tests.faults.injector import Fault


def build(vectors: Path, place: Path) -> None:
    """Builds an index in a directory."""
    build_product_index(vectors=vectors, queries=None, out=place / "index", settings=IndexConfig())
    check_pair(place / "index", encoder_fingerprint="7" * 64)


def build_at_every_write(place: Path) -> list[dict[str, Any]]:
    """For `injector.run`."""
    vectors = shop.write_vectors(place / "vectors", 7)
    return injector.sweep(partial(build, vectors), place, Fault.FULL_DISK)


def release(inputs: Any, place: Path) -> None:
    """Registers a release in a directory."""
    record = register_release(
        dataset=inputs.dataset,
        model=inputs.model,
        index=inputs.index,
        gate=inputs.gate,
        releases=place / "releases",
        registry=InMemoryTracking(),
    )
    Release.open(record.path, verify="hashes")


def release_at_every_write(place: Path) -> list[dict[str, Any]]:
    """For `injector.run`."""
    from mmr.stages.build_index import build_index
    from mmr.stages.embed_catalogue import embed_catalogue
    from tests.stages.release_inputs import Inputs, write_dataset, write_gate, write_model

    dataset = write_dataset(place / "dataset")
    model = write_model(place / "model", seed=0)
    vectors, index = place / "vectors", place / "index"
    embed_catalogue(dataset=dataset, model=model, out=vectors, cache=place / "cache")
    build_index(vectors=vectors, out=index, settings=IndexConfig())
    inputs = Inputs(dataset, model, index, write_gate(place / "gate"))
    return injector.sweep(partial(release, inputs), place, Fault.FULL_DISK)


def check(told: list[dict[str, Any]], *, kept: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every attempt failed for lack of space, left nothing, and succeeded when run again."""
    assert len(told) > 3
    for attempt in told:
        assert "full" in attempt["error"] or "No space left" in attempt["error"], attempt
        assert set(attempt["left"]) <= kept, attempt
        assert attempt["again"] is None, attempt


def test_index(tmp_path: Path) -> None:
    outcome = injector.run(build_at_every_write, tmp_path, root=tmp_path)
    assert outcome.error is None
    check(outcome.value)


def test_release(tmp_path: Path) -> None:
    outcome = injector.run(release_at_every_write, tmp_path, root=tmp_path)
    assert outcome.error is None
    check(outcome.value, kept={"releases"})
