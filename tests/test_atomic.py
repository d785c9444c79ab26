"""What a killed writer leaves behind, and when the next one may remove it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmr.atomic import LEFTOVER_AGE_S, new_directory

WRITER = """
import pathlib, sys, time
from mmr.atomic import new_directory
with new_directory(pathlib.Path(sys.argv[1])) as scratch:
    (scratch / "half").write_text("half")
    print(scratch, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The scratch directory of a writer of `tmp_path / "out"` that was killed at work."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        scratch = Path(writer.stdout.readline().strip())
        writer.kill()
    return scratch


def _age(path: Path) -> None:
    long_ago = time.time() - LEFTOVER_AGE_S - 60
    for inner in (*path.rglob("*"), path):
        os.utime(inner, (long_ago, long_ago))


def _write(path: Path) -> None:
    with new_directory(path, replace=True) as scratch:
        (scratch / "whole").write_text("whole")


def test_leftover_of_a_killed_writer_goes_with_the_next_attempt(killed: Path) -> None:
    _age(killed)
    _write(killed.parent / "out")

    assert sorted(path.name for path in killed.parent.iterdir()) == ["out"]
    assert (killed.parent / "out" / "whole").is_file()


def test_fresh_leftover_stays_because_its_writer_may_be_on_another_machine(killed: Path) -> None:
    _write(killed.parent / "out")

    assert (killed / "half").is_file()


def test_leftover_in_which_one_file_is_fresh_stays(killed: Path) -> None:
    _age(killed)
    (killed / "deep").mkdir()
    (killed / "deep" / "new").write_text("")
    _write(killed.parent / "out")

    assert killed.is_dir()


def test_old_directory_of_a_living_process_stays(tmp_path: Path) -> None:
    alive = tmp_path / f".out.partial-{os.getpid()}-0123abcd"
    alive.mkdir()
    _age(alive)
    _write(tmp_path / "out")

    assert alive.is_dir()


def test_leftovers_of_other_outputs_and_names_of_the_user_stay(killed: Path) -> None:
    dead = killed.name.removeprefix(".out.partial-")
    others = [killed.parent / name for name in (f".outer.partial-{dead}", "out.partial-mine")]
    for other in others:
        other.mkdir()
        _age(other)
    _write(killed.parent / "out")

    assert all(other.is_dir() for other in others)
