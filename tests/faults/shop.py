"""A shop whose commands are broken: two small releases, a real MLflow store, Triton on paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr.config.index import IndexConfig
from mmr.indexing import build_product_index
from mmr.release.bundle import GoldenQuery, write_golden_queries
from mmr.tracking.protocols import CHAMPION, PREVIOUS
from mmr.workspace import Workspace
from serving.deploy import deploy
from serving.doctor.agreement import Agreement, check_agreement
from serving.doctor.audit import check_audit
from serving.doctor.diagnosis import repair
from serving.doctor.finding import Level
from serving.doctor.server import check_leftovers, check_server
from serving.model_config import MODELS
from serving.process import RunningServer, ServerRecord, start_ticks
from serving.repository import ModelRepository
from serving.settings import ServeSettings
from tests.faults.one_process import steps_in_this_process
from tests.faults.paper_triton import PaperTriton
from tests.sealing import seal_release

DIM = 8


def write_release(releases: Path, seed: int) -> str:
    """Seals a small release and returns its id. Its index is real, its encoder is never run."""
    draft = releases / f"draft-{seed}"
    fingerprint = f"{seed}" * 64
    (draft / "query_encoder").mkdir(parents=True)
    (draft / "query_encoder" / "encoder.json").write_text(json.dumps({"dim": DIM}))
    (draft / "query_encoder" / "encoder.onnx").write_bytes(b"onnx")
    vectors = write_vectors(releases.parent / f"vectors-{seed}", seed)
    build_product_index(vectors=vectors, queries=None, out=draft / "index", settings=IndexConfig())
    embedding = np.load(vectors / "vectors.npy")[0].tolist()
    golden = GoldenQuery("red sofa", embedding, [f"{seed}-1", f"{seed}-2"], [0.9, 0.8])
    write_golden_queries(draft / "golden.json", [golden])
    manifest = seal_release(draft, fingerprint=fingerprint, dim=DIM, created_at="2026-01-01")
    draft.rename(releases / manifest.release_id)
    return manifest.release_id


def write_vectors(directory: Path, seed: int, *, products: int = 40) -> Path:
    """Writes what `embed_catalogue` would write."""
    directory.mkdir(parents=True)
    rows = np.random.default_rng(seed).normal(size=(products, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(directory / "vectors.npy", rows.astype(np.float32))
    table = {
        "product_id": [f"{seed}-{row}" for row in range(products)],
        "title": [f"title {row}" for row in range(products)],
        "has_text": [True] * products,
        "has_image": [False] * products,
    }
    pq.write_table(pa.table(table), directory / "products.parquet")
    record = {
        "format_version": 1,
        "encoder_fingerprint": f"{seed}" * 64,
        "dim": DIM,
        "rows": products,
        "dataset_hash": "d" * 64,
    }
    (directory / "vectors.json").write_text(json.dumps(record))
    return directory


def open_shop(place: Path, server_pid: int) -> dict[str, str]:
    """Makes a workspace with two registered releases, of which `old` serves and is champion.

    Args:
        place: Where; the workspace is the directory `shop` in it.
        server_pid: A process that counts as its running Triton.
    """
    workspace = Workspace.open(place / "shop", create=True)
    workspace.releases.mkdir()
    registry = _registry(workspace)
    releases = {
        name: write_release(workspace.releases, seed) for seed, name in enumerate(("old", "new"), 1)
    }
    for release_id in releases.values():
        registry.register(
            release_id=release_id,
            release_dir=workspace.releases / release_id,
            run_id=None,
            tags={},
        )
    _record_server(workspace, server_pid)
    with _paper(workspace):
        deploy(workspace.releases / releases["old"], workspace=workspace, registry=registry)
    return releases


def open_empty_shop(place: Path, server_pid: int) -> None:
    """Makes a workspace in which nothing was ever trained; its Triton runs and serves nothing."""
    workspace = Workspace.open(place / "shop", create=True)
    _registry(workspace)
    _record_server(workspace, server_pid)


def command(place: Path, *arguments: str) -> None:
    """Runs an mmr command in the shop, as the command line does, with the shop's own store."""
    uri = Workspace.open(place / "shop").tracking_uri
    command_of_user(place, *arguments, "--tracking-uri", uri)


def command_of_user(place: Path, *arguments: str) -> None:
    """Runs an mmr command in the shop, with the tracking store that it names itself."""
    from mmr.cli import build_app

    workspace = Workspace.open(place / "shop")
    with _paper(workspace), steps_in_this_process(), _gate_promotes():
        build_app()([*arguments, "--workspace", str(workspace.path)], standalone_mode=False)


def command_and_look(place: Path, *arguments: str) -> dict[str, Any]:
    """Runs an mmr command, then looks."""
    command(place, *arguments)
    return look(place)


def look(place: Path) -> dict[str, Any]:
    """What the registry, `active.json` and Triton say, and what the doctor finds wrong."""
    workspace = Workspace.open(place / "shop")
    with _paper(workspace):
        return _look(workspace)


def heal(place: Path) -> dict[str, Any]:
    """Looks, lets the doctor repair, and looks again; returns both, and what the doctor said."""
    workspace = Workspace.open(place / "shop")
    with _paper(workspace):
        before = _look(workspace)
        said = list(repair(_findings(workspace)))
        return {"before": before, "said": said, "after": _look(workspace)}


def _look(workspace: Workspace) -> dict[str, Any]:
    registry = _registry(workspace)
    repository = ModelRepository(workspace.serving)
    active = repository.active()
    loaded = PaperTriton(workspace.path).loaded_versions()
    return {
        "champion": registry.resolve(CHAMPION),
        "previous": registry.resolve(PREVIOUS),
        "history": [asdict(record) for record in registry.history()],
        "active": active and active.release_id,
        "on_disk": active and repository.release_ids().get(active.version),
        "answers": [_newest(loaded.get(model, {})) for model in MODELS],
        "loaded": loaded,
        "wrong": [f.what for f in _findings(workspace) if f.level is not Level.OK],
    }


def _newest(held: dict[str, str]) -> str | None:
    return held[max(held, key=int)] if held else None


def _findings(workspace: Workspace) -> list[Any]:
    serve = ServeSettings()
    registry = _registry(workspace)
    return [
        *check_server(workspace, serve=serve),
        *check_agreement(Agreement(workspace, registry, serve, None)),
        *check_leftovers(workspace),
        *check_audit(registry),
    ]


@cache
def _store(workspace: Path) -> Any:
    from mmr.tracking import open_tracking

    return open_tracking(Workspace.open(workspace).tracking_uri)


def _registry(workspace: Workspace) -> Any:
    return _store(workspace.path)  # opened once in a process


@contextmanager
def _paper(workspace: Workspace) -> Iterator[None]:
    """Puts Triton on paper while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "serving.transport.GrpcTransport",
            lambda url, *, timeout_s: PaperTriton(workspace.path),
        )
        patch.setattr("serving.doctor.server._taken", lambda port: False)
        yield


@contextmanager
def _gate_promotes() -> Iterator[None]:
    """Lets the gate judge, and promote all the same: seconds of training gain nothing."""
    from mmr.evaluation import evaluate
    from mmr.evaluation.gate import Verdict

    judge = evaluate.decide
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            evaluate, "decide", lambda *a, **more: Verdict("promote", judge(*a, **more).reasons)
        )
        yield


def _record_server(workspace: Workspace, pid: int) -> None:
    """Lets a process count as the running Triton."""
    workspace.serving.mkdir(exist_ok=True)
    server = RunningServer(pid, start_ticks(pid) or 0, "127.0.0.1", 1, 2, 3)
    ServerRecord(workspace.serving).write(server)
