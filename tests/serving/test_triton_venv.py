import sys
from pathlib import Path

import pytest

from mmr.errors import ServingError
from serving.triton_venv import TritonVenv


def test_missing_environment_names_place_and_cure(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"nowhere.*make setup"):
        TritonVenv.locate(tmp_path / "nowhere")


def test_environment_without_triton_is_refused() -> None:
    with pytest.raises(ServingError, match=r"no nvidia-pytriton.*make setup"):
        TritonVenv.locate(Path(sys.prefix))


def test_python_that_cannot_run_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    python.chmod(0o755)

    with pytest.raises(ServingError, match=r"cannot be run: broken"):
        TritonVenv.locate(tmp_path)


def test_secrets_do_not_reach_the_server(
    triton_venv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")

    environment = TritonVenv.locate(triton_venv).environment(tmp_path)

    assert "hush" not in environment.values()
    assert environment["PATH"].startswith(str(triton_venv))


def test_stub_of_the_right_python_stands_beside_the_backend(
    triton_venv: Path, tmp_path: Path
) -> None:
    TritonVenv.locate(triton_venv).prepare_backends(tmp_path / "backends")

    names = {path.name for path in (tmp_path / "backends/python").iterdir()}
    assert {"libtriton_python.so", "triton_python_backend_stub"} <= names
