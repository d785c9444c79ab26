"""What the demo leaves in a clone: nothing that git would show."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A git repository with this project's DVC stages and a catalogue of forty products."""
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
    small = settings.replace("products=2000,queries=700", "products=40,queries=20")
    assert small != settings
    (tmp_path / "params.yaml").write_text(small)
    (tmp_path / "mmr" / "data" / "showroom").mkdir(parents=True)
    (tmp_path / "mmr" / "data" / "showroom" / "watched.py").write_text("")
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "clone")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_data_stages_leave_nothing_untracked_and_are_skipped_when_nothing_changed(
    clone: Path,
) -> None:
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def dvc(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc("repro", "prepare")
    shown = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )

    assert (clone / "data" / "prepared" / "dataset.json").is_file()
    assert (clone / "dvc.lock").is_file()
    assert shown.stdout == ""
    assert "didn't change, skipping" in dvc("repro", "prepare")
