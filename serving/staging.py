"""Puts one version of a Triton model together, outside Triton's view."""

import os
import shutil
from pathlib import Path

from mmr.atomic import write_text
from mmr.hashing import files_below
from mmr.release.query_profile import QUERY_PROFILE
from serving.model_config import QUERY_ENCODER, SEARCH

_PARTS = {QUERY_ENCODER: ("query_encoder",), SEARCH: ("query_encoder", "index", QUERY_PROFILE)}
_MODEL_PY = '''"""Generated: Triton loads this file, everything else is in `serving.models`."""

import os
import sys

# Triton's stub starts Python isolated, so PYTHONPATH does not reach it by itself.
for _place in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    if _place and _place not in sys.path:
        sys.path.append(_place)

from serving.models.{model} import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
'''


_NO_CACHE = """A file, so that Python cannot keep compiled code here: Triton would take that for a
change of this version, and load it again with every later one.
"""


def stage_model(release: Path, staged: Path, *, kind: str, linked: bool) -> None:
    """Fills the directory of a version: the code that Triton loads, and the release's files.

    Args:
        release: The release directory.
        staged: The directory to make.
        kind: `query_encoder` or `search`; says which part of the release is needed.
        linked: Whether its files are hard links to the release's, where the file system has them;
            else they are copies.
    """
    target = staged / "release"
    target.mkdir(parents=True)
    put = _link if linked else shutil.copy2
    put(release / "release.json", target / "release.json")
    for part in _PARTS[kind]:
        for source in files_below(release / part):
            place = target / source.relative_to(release)
            place.parent.mkdir(parents=True, exist_ok=True)
            put(source, place)
    write_text(staged / "model.py", _MODEL_PY.format(model=kind))
    write_text(staged / "__pycache__", _NO_CACHE)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
