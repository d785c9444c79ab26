from pathlib import Path

import pytest

from mmr.errors import ServingError
from serving.active import ActiveVersion
from serving.model_config import CANDIDATE_SUFFIX
from serving.repository import ModelRepository
from serving.settings import ModelSettings


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    repository = ModelRepository(tmp_path / "serving")
    repository.create()
    return repository


def add(repository: ModelRepository, release: Path, version: int, **changes: object) -> None:
    settings = ModelSettings(**changes)
    repository.add(release, version, settings=settings, keep_versions=2)


def test_version_holds_links_to_what_its_model_needs(
    repository: ModelRepository, release_a: Path
) -> None:
    add(repository, release_a, 1)

    search, encoder = repository.path / "search/1/release", repository.path / "query_encoder/1"
    assert sorted(path.name for path in search.iterdir()) == [
        "index",
        "query_encoder",
        "query_profile",
        "release.json",
    ]
    assert not (encoder / "release/index").exists()
    assert (search / "index/index.faiss").samefile(release_a / "index/index.faiss")
    assert "serving.models.search" in (repository.path / "search/1/model.py").read_text()


def test_numbers_rise_even_when_versions_are_gone(
    repository: ModelRepository, release_a: Path
) -> None:
    assert repository.next_version() == 1
    add(repository, release_a, 4)
    repository.set_active(ActiveVersion(4, release_a.name))
    repository.remove(4)

    assert repository.next_version() == 5


def test_equal_config_is_left_alone(repository: ModelRepository, release_a: Path) -> None:
    add(repository, release_a, 1)
    config = repository.path / "search/config.pbtxt"
    before = config.stat()
    add(repository, release_a, 2)
    assert config.stat().st_ino == before.st_ino

    add(repository, release_a, 3, queue_delay_us=77)
    assert "max_queue_delay_microseconds: 77" in config.read_text()


def test_leftovers_of_a_killed_deployment_go_and_what_serves_stays(
    repository: ModelRepository, release_a: Path
) -> None:
    add(repository, release_a, 1)
    repository.set_active(ActiveVersion(1, release_a.name))
    add(repository, release_a, 2)
    repository.add(release_a, 2, settings=ModelSettings(), keep_versions=2, suffix=CANDIDATE_SUFFIX)

    repository.remove_leftovers()

    assert repository.versions("search") == repository.versions("query_encoder") == [1]
    assert not (repository.path / "search_candidate").exists()


def test_retire_keeps_the_newest(repository: ModelRepository, release_a: Path) -> None:
    for version in (1, 2, 10):
        add(repository, release_a, version)

    assert repository.retire(keep=2) == [1]
    assert repository.versions("search") == [2, 10]


def test_release_files_survive_the_removal_of_their_version(
    repository: ModelRepository, release_a: Path
) -> None:
    size = (release_a / "index/index.faiss").stat().st_size
    add(repository, release_a, 1)
    repository.remove(1)

    assert (release_a / "index/index.faiss").stat().st_size == size


def test_damaged_active_record_names_its_file(repository: ModelRepository) -> None:
    record = repository.path.parent / "active.json"
    record.write_text("{")

    with pytest.raises(ServingError, match=r"active\.json is damaged"):
        repository.active()


def test_number_of_a_version_that_was_withdrawn_before_the_switch_is_not_given_again(
    repository: ModelRepository, release_a: Path
) -> None:
    add(repository, release_a, 1)
    repository.set_active(ActiveVersion(1, release_a.name))
    add(repository, release_a, 2)

    repository.remove_leftovers()

    assert repository.versions("search") == [1]
    assert repository.next_version() == 3
    assert repository.active() == ActiveVersion(1, release_a.name)
