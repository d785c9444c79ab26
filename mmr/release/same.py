"""Is this release there already? Then a repeated run has nothing to add."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmr.errors import MmrError
from mmr.release.bundle import EVIDENCE, Release
from mmr.release.evidence import GateEvidence


def find_same(releases: Path, draft: Release, *, champion: str | None) -> Release | None:
    """The release that serves what a draft would serve, for the same reason; None where none does.

    That is the champion, if it serves the same: what was proven of it a second time makes it no
    other release. Or it is one that serves the same after the same decision against the same
    baseline: only times and run ids are different then. With another baseline or decision the
    draft is worth a release of its own, because a person decides by that evidence.

    Args:
        releases: Where releases lie.
        draft: The sealed release that is to be published.
        champion: The release in production.
    """
    wanted = draft.manifest.serving_id()
    same = [known for known in _readable(releases) if known.manifest.serving_id() == wanted]
    for known in same:
        if known.release_id == champion:
            return known
    grounds = _grounds(draft)
    return next((known for known in same if _grounds(known) == grounds), None)


def _grounds(release: Release) -> tuple[str, str | None]:
    return release.manifest.gate_decision, GateEvidence.of(release).baseline_name


def _readable(releases: Path) -> Iterator[Release]:
    """Those whose record can be read; a damaged one is named by `mmr doctor`, and no obstacle."""
    for path in sorted(releases.glob("[!.]*")):
        try:
            release = Release.open(path)
            release.verify(EVIDENCE)
            GateEvidence.of(release)
        except MmrError:
            continue
        yield release
