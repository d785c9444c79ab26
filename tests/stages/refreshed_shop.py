"""A real, tiny shop with a champion, and the newer feeds that refresh it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmr.config.index import IndexConfig
from mmr.config.model import FusionKind
from mmr.config.refresh import RefreshConfig
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.data.writer import new_dataset
from mmr.hashing import sha256_file
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
from mmr.release.manifest import ReleaseManifest
from mmr.stages.build_index import build_index
from mmr.stages.catalogue_changes import ChangeReport
from mmr.stages.check_refresh import RefreshVerdict, check_refresh
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.embed_changes import embed_changes
from mmr.stages.register_release import register_release
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace

LIMITS = RefreshConfig()
ANYTHING = RefreshConfig(max_removed_share=1.0)
JUDGED = RefreshConfig(min_judged_queries=5, metric_margin=0.2)  # the model is not trained
Edit = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class Shop:
    """A workspace with a champion, and the dataset that it was built from."""

    dataset: Path
    champion: Path
    workspace: Workspace
    registry: InMemoryTracking

    def refresh(self, feed: Path, out: Path, *, settings: RefreshConfig = LIMITS) -> ChangeReport:
        return embed_changes(
            dataset=feed,
            champion=self.champion,
            out=out / "vectors",
            model_out=out / "model",
            settings=settings,
            workspace=self.workspace,
        )

    def check(self, feed: Path, out: Path, *, settings: RefreshConfig = LIMITS) -> RefreshVerdict:
        build_index(vectors=out / "vectors", out=out / "index", settings=IndexConfig())
        return check_refresh(
            dataset=feed,
            vectors=out / "vectors",
            index=out / "index",
            champion=self.champion,
            out=out / "gate",
            settings=settings,
        )


@dataclass(frozen=True)
class Feed:
    """Edits that make a newer feed of a dataset."""

    edit: Edit = field(default=lambda product: product)
    added: tuple[dict[str, Any], ...] = ()
    with_queries: bool = True

    def write(self, source: Path, out: Path) -> Path:
        data = Dataset(source)
        products = [
            edited
            for batch in data.product_batches(["product_id", "title", "description", "image"])
            for product in batch.to_pylist()
            if (edited := self.edit(product)) is not None
        ]
        kept = {product["product_id"] for product in products}
        queries, judgements = data.queries(), data.judgements()
        rows = slice(None) if self.with_queries else slice(0)
        with new_dataset(out, attributes={}) as writer:
            writer.add_products([*products, *self.added])
            writer.set_queries(queries.iloc[rows])
            writer.set_judgements(judgements[judgements["product_id"].isin(kept)].iloc[rows])
            writer.finish(name="shop", prepared=None)
        return out


NEW = {"product_id": "new-1", "title": "white oak bookcase", "description": None, "image": None}


def without(*endings: str) -> Edit:
    return lambda product: None if product["product_id"].endswith(endings) else product


def open_shop(root: Path, dataset: Path, settings: RunSettings) -> Shop:
    """A shop whose champion, untrained, has a text and an image tower."""
    workspace = Workspace.open(root / "workspace", create=True)
    registry = InMemoryTracking()
    torch.manual_seed(0)
    retriever = new_text_retriever(settings.model)
    retriever.with_images()
    retriever.with_fusion(FusionKind.BILINEAR_EXPERTS)
    (root / "model").mkdir()
    save_retriever(retriever.eval(), root / "model", training={})
    embed_catalogue(
        dataset=dataset, model=root / "model", out=root / "vectors", cache=workspace.cache
    )
    build_index(vectors=root / "vectors", out=root / "index", settings=IndexConfig())
    (root / "gate").mkdir()
    record = {"decision": "promote", "metrics": {"candidate": {"overall": {"ndcg_at_10": 0.5}}}}
    (root / "gate" / "gate.json").write_text(json.dumps(record))
    registered = register_release(
        dataset=dataset,
        model=root / "model",
        index=root / "index",
        gate=root / "gate",
        releases=workspace.releases,
        registry=registry,
        settings=settings.model_dump(mode="json"),
    )
    registry.promote(registered.release_id, expected=None, why="", who="")
    return Shop(dataset, registered.path, workspace, registry)


def resealed(release: Path, manifest: ReleaseManifest) -> Path:
    """Records hashes and manifest anew in a release that was changed."""
    products = release / "index" / "products.parquet"
    index_file = release / "index" / "index.json"
    index = json.loads(index_file.read_text())
    index["products"] = {"bytes": products.stat().st_size, "sha256": sha256_file(products)}
    index_file.chmod(0o644)
    index_file.write_text(json.dumps(index))
    files = {name: sha256_file(release / name) for name in manifest.files}
    content = manifest.model_dump(exclude={"release_id", "created_at", "files"})
    changed = ReleaseManifest.create(created_at=manifest.created_at, files=files, **content)
    (release / "release.json").chmod(0o644)
    (release / "release.json").write_text(changed.model_dump_json())
    return release
