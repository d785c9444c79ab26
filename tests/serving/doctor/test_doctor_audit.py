"""The doctor compares `audit.jsonl` with the registry's own record."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mmr.errors import TrackingError
from mmr.tracking import AuditRecord, InMemoryTracking
from mmr.tracking.audit import append_record, read_records
from serving.doctor.audit import check_audit
from serving.doctor.finding import Finding, Level


@pytest.fixture
def registry(tmp_path: Path) -> InMemoryTracking:
    """Three releases, promoted one after the other; their mirror is whole."""
    registry = InMemoryTracking()
    registry.mirror = tmp_path / "audit.jsonl"
    champion = None
    for release_id in ("aaa", "bbb", "ccc"):
        registry.register(release_id=release_id, release_dir=tmp_path, run_id=None, tags={})
        registry.promote(release_id, expected=champion, why="better", who="ann")
        champion = release_id
    write(registry.mirror, registry.history()[::-1])
    return registry


def write(mirror: Path, records: list[AuditRecord]) -> None:
    mirror.unlink(missing_ok=True)
    for record in records:
        append_record(mirror, record)


def only(registry: InMemoryTracking) -> Finding:
    (finding,) = check_audit(registry)
    return finding


def test_a_whole_mirror_is_fine(registry: InMemoryTracking) -> None:
    assert only(registry).level is Level.OK
    assert "all 3 moves" in only(registry).what


def test_without_a_mirror_there_is_nothing_to_compare() -> None:
    assert check_audit(InMemoryTracking()) == []


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_moves_that_the_mirror_lacks_are_added_oldest_first(
    kept: int, registry: InMemoryTracking
) -> None:
    moves = registry.history()[::-1]
    write(registry.mirror, moves[:kept])
    finding = only(registry)
    assert finding.level is Level.WARNING
    assert f"lacks {3 - kept} of the registry's 3 moves" in finding.what
    finding.repair()
    assert read_records(registry.mirror) == (moves, [])
    assert only(registry).level is Level.OK


@pytest.mark.parametrize("field", ["release_id", "replaced", "why", "who", "when"])
def test_a_line_that_tells_another_story_is_an_error_for_a_person(
    field: str, registry: InMemoryTracking
) -> None:
    *rest, last = registry.history()[::-1]
    changed = AuditRecord(**{**asdict(last), field: "something else"})
    write(registry.mirror, [*rest, changed])
    lacking, foreign = check_audit(registry)
    assert (lacking.level, foreign.level) == (Level.WARNING, Level.ERROR)
    assert "that the registry's record lacks" in foreign.what
    assert foreign.repair is None


def test_an_unfinished_move_is_not_expected_in_the_mirror(registry: InMemoryTracking) -> None:
    registry._audit.append(replace(registry.history()[0], when="2027", finished=False))
    assert only(registry).level is Level.OK


def test_a_damaged_line_is_named_and_harms_nothing(registry: InMemoryTracking) -> None:
    registry.mirror.write_bytes(registry.mirror.read_bytes() + b'{"when": "20')
    finding = only(registry)
    assert finding.level is Level.WARNING
    assert "line 4 cannot be read" in finding.what


def test_a_store_that_fails_is_a_finding(registry: InMemoryTracking) -> None:
    class Failing(InMemoryTracking):
        mirror = registry.mirror

        def history(self) -> list[AuditRecord]:
            raise TrackingError("the store is down")

    assert only(Failing()).what == "the store is down"


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_a_promotion_killed_before_it_wrote_the_mirror_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmr.tracking import open_tracking
    from mmr.tracking.connection import import_mlflow

    import_mlflow()
    from mmr.tracking import mlflow_audit

    tracking = open_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}")
    encoder = tmp_path / "aaa" / "query_encoder"
    encoder.mkdir(parents=True)
    (encoder / "encoder.json").write_text('{"dim": 4}')
    tracking.register(release_id="aaa", release_dir=encoder.parent, run_id=None, tags={})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_audit, "append_record", killed)
        with pytest.raises(KeyboardInterrupt):
            tracking.promote("aaa", expected=None, why="first", who="ann")

    (finding,) = check_audit(tracking)
    finding.repair()
    assert read_records(tmp_path / "audit.jsonl") == (tracking.history(), [])
    assert tracking.resolve("champion") == "aaa"
