"""What may be removed, and what never is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.errors import ArtifactError, TrackingError
from mmr.release.prune import delete_release, plan_prune
from mmr.tracking import InMemoryTracking


@pytest.fixture
def registry() -> InMemoryTracking:
    return InMemoryTracking()


@pytest.fixture
def releases(
    build_release: Callable[..., Path], registry: InMemoryTracking, tmp_path: Path
) -> list[Path]:
    """Five releases, the oldest first."""
    home = tmp_path / "releases"
    home.mkdir()
    made = []
    for number in range(5):
        built = build_release(f"r{number}", ndcg=number / 10)
        path = home / f"{number}{number}{number}"
        built.rename(path)
        registry.register(release_id=path.name, release_dir=path, run_id=None, tags={})
        made.append(path)
    return made


def test_the_newest_the_named_and_the_used_stay(
    releases: list[Path], registry: InMemoryTracking
) -> None:
    home = releases[0].parent
    (home / "unknown").mkdir()
    (home / ".444.partial-1-a").mkdir()
    registry.promote("000", expected=None, why="", who="")
    plan = plan_prune(home, registry, keep=1, in_use={"222": "serves as version 3"})
    assert plan.keep == {
        "000": "champion",
        "222": "serves as version 3",
        "444": "among the newest 1",
        "unknown": "not in the registry",
    }
    assert list(plan.remove) == ["111", "333"]
    assert all(size > 0 for size in plan.remove.values())


def test_a_removed_release_leaves_nothing_and_is_on_record(
    releases: list[Path], registry: InMemoryTracking
) -> None:
    home = releases[0].parent
    delete_release(home, registry, "111", in_use={})
    assert sorted(path.name for path in home.iterdir()) == ["000", "222", "333", "444"]
    assert [known.release_id for known in registry.releases() if known.deleted] == ["111"]
    assert "111" not in plan_prune(home, registry, keep=1, in_use={}).remove


@pytest.mark.parametrize("alias", ["champion", "previous", "candidate"])
def test_a_release_that_an_alias_names_is_refused_with_the_alias(
    alias: str, releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.promote("000", expected=None, why="", who="")
    registry.promote("111", expected="000", why="", who="")
    registry.set_alias("candidate", "222")
    named = registry.resolve(alias)
    assert named is not None
    home = releases[0].parent
    with pytest.raises(TrackingError, match=f"{named} may not be deleted: it is {alias}"):
        delete_release(home, registry, named, in_use={})
    assert (home / named).is_dir()


def test_a_release_that_serves_is_refused(releases: list[Path], registry: InMemoryTracking) -> None:
    with pytest.raises(ArtifactError, match="it serves as version 3"):
        delete_release(releases[0].parent, registry, "111", in_use={"111": "serves as version 3"})
    assert releases[1].is_dir()
    assert not any(known.deleted for known in registry.releases())


def test_a_removal_cut_short_after_its_mark_is_planned_again(
    releases: list[Path], registry: InMemoryTracking
) -> None:
    registry.mark_deleted("444")
    plan = plan_prune(releases[0].parent, registry, keep=4, in_use={})
    assert list(plan.remove) == ["444"]
