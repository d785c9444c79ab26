"""The workspace: what killed processes left behind, and what caches hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmr.atomic import PARTIAL, is_abandoned
from mmr.workspace import Workspace
from serving.doctor.finding import Finding, Level

_AREA = "workspace"


def check_workspace(workspace: Workspace) -> Iterator[Finding]:
    """Leftovers of killed processes, and the size of the caches."""
    leftovers = sorted(_leftovers(workspace.path))
    if leftovers:
        shown = ", ".join(str(path.relative_to(workspace.path)) for path in leftovers[:5])
        more = f" and {len(leftovers) - 5} more" if len(leftovers) > 5 else ""
        yield Finding(
            _AREA,
            Level.WARNING,
            f"{len(leftovers)} half-written outputs of killed processes: {shown}{more} "
            f"({sum(map(_bytes, leftovers)) / 1e6:.1f} MB)",
            "Nobody reads them: `mmr doctor --repair` removes them.",
            lambda: _remove(leftovers),
        )
    else:
        yield Finding(_AREA, Level.OK, f"{workspace.path}: no half-written outputs")
    yield Finding(_AREA, Level.OK, f"caches: {_sizes(workspace.cache)}; safe to remove")


def _leftovers(root: Path) -> Iterator[Path]:
    """Outputs under a temporary name that nobody has written to for an hour, nor will."""
    for directory, folders, files in os.walk(root):
        for name in [*folders, *files]:
            if is_abandoned(Path(directory, name)):
                yield Path(directory, name)
        folders[:] = [name for name in folders if not PARTIAL.match(name)]


def _remove(leftovers: list[Path]) -> str:
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return f"removed {len(leftovers)} half-written outputs"


def _sizes(cache: Path) -> str:
    if not cache.is_dir():
        return "empty"
    sizes = {path.name: _bytes(path) / 1e6 for path in sorted(cache.iterdir())}
    each = ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items())
    return f"{sum(sizes.values()):.0f} MB ({each})" if each else "empty"


def _bytes(path: Path) -> int:
    return sum(inner.lstat().st_size for inner in (path, *path.rglob("*")) if inner.is_file())
