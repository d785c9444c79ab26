"""What test files of the stages share: stand-ins, a shop to refresh, a registration, a release."""

from pathlib import Path

import pytest

from mmr.config.run import RunSettings
from mmr.tracking import InMemoryTracking
from tests.stages.gate_stand_ins import replace_embedding, write_dataset
from tests.stages.refreshed_shop import Shop, open_shop
from tests.stages.release_inputs import Inputs, write_inputs
from tests.stages.tiny_release import write_release


@pytest.fixture
def stand_in_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_embedding(monkeypatch)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The vases of `gate_stand_ins`."""
    return write_dataset(tmp_path / "dataset")


@pytest.fixture(scope="module")
def shop(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    return open_shop(tmp_path_factory.mktemp("refresh"), tiny_dataset, tiny_settings)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def registry() -> InMemoryTracking:
    return InMemoryTracking()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "release")
