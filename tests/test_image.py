"""The image that the pipelines run on, built by a real engine where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = os.environ.get("MMR_PYTHON_IMAGE", "python:3.11-slim-bookworm")
OPTIONS = os.environ.get("MMR_BUILD_OPTIONS", "").split()


def _said(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def engine() -> str:
    for name in ("docker", "podman"):
        if shutil.which(name) and _said(name, "info").returncode == 0:
            if _said(name, "image", "inspect", BASE).returncode == 0:
                return name
            pytest.skip(f"{name} runs, but has no image {BASE}: pull it, or set MMR_PYTHON_IMAGE")
    pytest.skip("neither docker nor podman answers here")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_image_of_the_components_holds_the_packages_whole_and_the_command_runs(
    engine: str,
) -> None:
    """The layer of dependencies installs empty packages, which must not come out at the end."""
    built = _said(
        *(
            engine,
            "build",
            *OPTIONS,
            "--build-arg",
            f"PYTHON_IMAGE={BASE}",
            "--tag",
            "mmr-test",
            ".",
        )
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]

    run = (engine, "run", "--rm", "--network=none")
    told = _said(*run, "mmr-test", "--version")
    imported = _said(
        *(*run, "--entrypoint", "python", "mmr-test", "-c"),
        "import torch, faiss, mlflow, kfp, pipelines.cli, components.train_text_only.component",
    )

    assert told.stdout.startswith("mmr "), told.stderr
    assert imported.returncode == 0, imported.stderr
