"""From what the user names to a prepared dataset, made once and kept by content."""

from __future__ import annotations

from pathlib import Path

from mmr.config.data import ImportConfig, PrepareConfig
from mmr.data.dataset import Dataset
from mmr.errors import DataContractError
from mmr.hashing import sha256_directory, sha256_file, sha256_json
from mmr.stages.import_data import SHOWROOM, import_data
from mmr.stages.prepare import prepare


def prepared_dataset(source: str, *, settings: PrepareConfig, cache: Path) -> Path:
    """A dataset to train on.

    Args:
        source: A prepared dataset, which is taken as it is; an imported one, which is prepared; a
            feed or `showroom:...`, which is imported first.
        settings: Of the preparation.
        cache: The workspace's cache.

    Raises:
        DataContractError: Nothing is there, or it cannot be imported.
    """
    path = Path(source)
    if source.startswith(SHOWROOM):
        imported = _imported(source, revision=source, cache=cache)
    elif not path.exists():
        raise DataContractError(
            f"{source} does not exist. Name a dataset, a feed, or `showroom:products=3000`."
        )
    elif (path / "dataset.json").is_file():
        if Dataset(path).manifest.prepared is not None:
            return path
        imported = path
    else:
        revision = sha256_file(path) if path.is_file() else sha256_directory(path)
        imported = _imported(source, revision=revision, cache=cache)
    key = sha256_json([Dataset(imported).manifest.content_hash, settings.model_dump(mode="json")])
    out = cache / "datasets" / f"prepared-{key[:24]}"
    if not out.is_dir():
        prepare(dataset=imported, out=out, settings=settings)
    return out


def _imported(source: str, *, revision: str, cache: Path) -> Path:
    out = cache / "datasets" / f"imported-{sha256_json(revision)[:24]}"
    if not out.is_dir():
        import_data(source=source, out=out, settings=ImportConfig())
    return out
