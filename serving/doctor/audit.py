"""Does the workspace's `audit.jsonl` tell of the same moves of the champion as the registry?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.errors import MmrError
from mmr.tracking.audit import append_record, read_records
from serving.doctor.finding import Finding, Level

if TYPE_CHECKING:
    from mmr.tracking import AuditRecord, Registry

_AREA = "registry"


def check_audit(registry: Registry) -> list[Finding]:
    """All findings; a registry without a mirror has none, one that fails is one itself."""
    if registry.mirror is None:
        return []
    try:
        return list(_compare(registry, registry.mirror))
    except (MmrError, OSError) as error:
        return [Finding(_AREA, Level.ERROR, str(error), "Follow the message, then look again.")]


def _compare(registry: Registry, mirror: Path) -> Iterator[Finding]:
    moves = [record for record in registry.history() if record.finished]
    lines, damaged = read_records(mirror)
    missing = _absent(moves, lines)
    foreign = _absent(lines, moves)
    if missing:
        yield _lacks_moves(registry, mirror, missing=len(missing), moves=len(moves))
    if foreign:
        yield Finding(
            _AREA,
            Level.ERROR,
            f"{mirror} has {len(foreign)} moves of the champion that the registry's record lacks; "
            f"the latest made {foreign[-1].release_id} champion at {foreign[-1].when}",
            "The store was restored from an older copy, its records were changed, or another store "
            "is meant: name it with MLFLOW_TRACKING_URI. Otherwise compare with `mmr history` and "
            "promote the release that should serve.",
        )
    if damaged:
        yield Finding(
            _AREA,
            Level.WARNING,
            f"{mirror}: line {', '.join(map(str, damaged[:5]))} cannot be read",
            "A full disk or a killed process cut it short. The registry's record is the one that "
            "counts; the line may stay or be removed.",
        )
    if not (missing or foreign or damaged):
        yield Finding(_AREA, Level.OK, f"{mirror.name} has all {len(moves)} moves of the champion")


def _lacks_moves(registry: Registry, mirror: Path, *, missing: int, moves: int) -> Finding:
    def repair() -> str:
        lines, _ = read_records(mirror)
        absent = _absent([move for move in registry.history() if move.finished], lines)
        for move in reversed(absent):  # the oldest first
            append_record(mirror, move)
        return f"{len(absent)} moves were added to {mirror}"

    return Finding(
        _AREA,
        Level.WARNING,
        f"{mirror} lacks {missing} of the registry's {moves} moves of the champion",
        "They were made from another workspace, or a process died before it wrote them: "
        "`mmr doctor --repair` adds them.",
        repair,
    )


def _absent(records: list[AuditRecord], others: list[AuditRecord]) -> list[AuditRecord]:
    known = set(others)
    return [record for record in records if record not in known]
