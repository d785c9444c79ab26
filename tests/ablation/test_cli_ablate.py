"""`mmr ablate` and `mmr results` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mmr.ablation import tables
from mmr.cli import build_app
from mmr.config.run import RunSettings
from mmr.errors import ConfigError


def test_the_paper_ladder_from_the_command_line_to_the_page(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    settings = tiny_settings.model_dump(mode="json")
    settings["gate"]["resamples"] = 99
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(settings))
    workspace = tmp_path / "workspace"
    common = ["--preset", str(preset), "--workspace", str(workspace), "--seed", "3"]
    runner = CliRunner()
    workspace.mkdir()
    results = ["results", str(workspace), "--out", str(tmp_path / "results.md")]
    assert "no results yet" in runner.invoke(build_app(), results).stdout

    done = runner.invoke(build_app(), ["ablate", str(tiny_dataset), "--only", "image", *common])

    assert done.exit_code == 0, done.output
    assert "+ image, naive concat" in done.stdout
    assert "paired gains" in done.stdout
    assert "written to" in done.stdout
    assert "[2/2] image, seed 3: finetune_vision" in done.stderr
    (file,) = (workspace / "ablations").glob("*/results.json")
    remarks = tables.remarks(json.loads(file.read_text(encoding="utf-8")))
    assert remarks  # a paper ladder says at least whether it is in order
    assert all(line in " ".join(done.stdout.split()) for line in remarks)
    page = runner.invoke(build_app(), results)
    assert page.exit_code == 0, page.output
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "Measured in part" in text  # a part of a ladder is not the ladder
    assert "--only text-only --only image" in text


def test_a_plan_trains_nothing_and_needs_no_workspace(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"

    done = CliRunner().invoke(
        build_app(), ["ablate", "anything", "--plan", "--workspace", str(workspace)]
    )

    assert done.exit_code == 0, done.output
    assert "two-stage alignment" in done.stdout
    assert not workspace.exists()


def test_an_unknown_rung_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(build_app(), ["ablate", "anything", "--plan", "--only", "roof"])

    assert isinstance(done.exception, ConfigError)
    assert "roof" in str(done.exception)
    with pytest.raises(ConfigError, match="stairs"):
        CliRunner().invoke(
            build_app(), ["ablate", "x", "--ladder", "stairs", "--plan"], catch_exceptions=False
        )
