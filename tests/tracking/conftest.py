"""Both kinds of tracking; the MLflow store is created once, its creation is slow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.tracking import InMemoryTracking, open_tracking

MakeRelease = Callable[[str], Path]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with all tables and nothing in it."""
    from mmr.tracking.connection import import_mlflow

    import_mlflow()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of a fresh MLflow store."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["in memory", "mlflow"])
def tracking(request: pytest.FixtureRequest) -> object:
    if request.param == "in memory":
        return InMemoryTracking()
    return open_tracking(request.getfixturevalue("store"))


@pytest.fixture
def make_release(tmp_path: Path) -> MakeRelease:
    """Writes as much of a release as a registry looks at."""

    def make(release_id: str) -> Path:
        encoder = tmp_path / "releases" / release_id / "query_encoder"
        encoder.mkdir(parents=True)
        (encoder / "encoder.json").write_text(json.dumps({"dim": 4}))
        (encoder / "encoder.onnx").write_bytes(b"onnx")
        return encoder.parent

    return make
