"""Both kinds of tracking; the MLflow store is created once, its creation is slow."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmr.tracking import InMemoryTracking, open_tracking
from tests.tracking.server import serving_mlflow

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


@pytest.fixture(scope="session")
def mlflow_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server, as several machines share one."""
    home = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, home / "mlflow.db")
    with serving_mlflow(home) as address:
        yield address


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
