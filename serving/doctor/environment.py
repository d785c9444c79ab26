"""The environment: Python, packages, the Triton side, and what the machine has to give."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from mmr.errors import ServingError
from serving.doctor.finding import Finding, Level
from serving.triton_venv import TritonVenv

_AREA = "environment"
_PYTHON = (3, 11)
_SKIPPED_EXTRAS = ("dev",)
_GB = 1e9
_DISK_ERROR_GB, _DISK_WARNING_GB, _MEMORY_WARNING_GB = 1.0, 5.0, 2.0


def check_environment(place: Path, *, triton_venv: Path | None, serves: bool) -> Iterator[Finding]:
    """Looks at everything that is not in the workspace.

    Args:
        place: A directory on the disk that the workspace is, or will be, on.
        triton_venv: See `TritonVenv.locate`.
        serves: Whether the workspace serves, which needs Triton.
    """
    yield _python()
    yield from _packages()
    yield _triton(triton_venv, serves)
    yield _cores_and_memory()
    yield _disk(place)


def _python() -> Finding:
    said = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info >= _PYTHON:
        return Finding(_AREA, Level.OK, said)
    wanted = ".".join(map(str, _PYTHON))
    return Finding(_AREA, Level.ERROR, said, f"mmr needs {wanted} or later: `make setup`.")


def _packages() -> Iterator[Finding]:
    """The requirements of mmr itself, then those of each extra."""
    by_extra: dict[str, list[Requirement]] = {}
    for text in requires("mmr") or []:
        requirement = Requirement(text)
        extra = re.search(r"extra == ['\"](\w+)['\"]", str(requirement.marker or ""))
        by_extra.setdefault(extra[1] if extra else "", []).append(requirement)
    for extra, wanted in by_extra.items():
        if extra in _SKIPPED_EXTRAS:
            continue
        found, problems = _versions(wanted)
        name = f"mmr[{extra}]" if extra else "mmr"
        if not problems:
            yield Finding(_AREA, Level.OK, f"{name}: {', '.join(found)}")
            continue
        level = Level.WARNING if extra and not found else Level.ERROR
        yield Finding(
            _AREA, level, f"{name}: {'; '.join(problems)}", f"Run `pip install '{name}'`."
        )


def _versions(wanted: list[Requirement]) -> tuple[list[str], list[str]]:
    """What is there and right, and what is not."""
    found, problems = [], []
    for requirement in wanted:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            found.append(f"{requirement.name} {installed}")
        else:
            problems.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
    return found, problems


def _triton(path: Path | None, serves: bool) -> Finding:
    try:
        venv = TritonVenv.locate(path)
    except ServingError as error:
        level = Level.ERROR if serves or path else Level.WARNING
        cure = "`make setup` builds it. Without it nothing can be served from this machine."
        return Finding(_AREA, level, str(error), cure)
    return Finding(_AREA, Level.OK, f"Triton in {venv.path}, Python {venv.python}")


def _cores_and_memory() -> Finding:
    cores = len(os.sched_getaffinity(0))
    facts = dict(
        re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", _meminfo(), flags=re.MULTILINE)
    )
    total, free = (int(facts.get(name, 0)) * 1024 / _GB for name in ("MemTotal", "MemAvailable"))
    said = f"{cores} cores, {total:.1f} GB of memory, {free:.1f} GB of it free"
    if free >= _MEMORY_WARNING_GB or not total:
        return Finding(_AREA, Level.OK, said)
    return Finding(
        _AREA, Level.WARNING, said, "Training needs about 2 GB: end other programs first."
    )


def _meminfo() -> str:
    try:
        return Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return ""


def _disk(place: Path) -> Finding:
    existing = next(path for path in (place, *place.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / _GB
    said = f"{free:.1f} GB free on the disk of {place}"
    cure = "Free some space: `mmr prune --keep N` removes old releases; caches can be removed."
    if free < _DISK_ERROR_GB:
        return Finding(_AREA, Level.ERROR, said, cure)
    if free < _DISK_WARNING_GB:
        return Finding(_AREA, Level.WARNING, said, cure)
    return Finding(_AREA, Level.OK, said)
