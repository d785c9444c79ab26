"""The training benchmarks run on a CPU with something tiny, and count what they say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from mmr.config.run import RunSettings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """A benchmark, which finds its parts beside it as when it is run."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_train_throughput_reports_samples_a_second_and_utilisation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput = load("train_throughput")
    monkeypatch.setattr(
        sys, "argv", ["train_throughput.py", "--models", "tiny", "--batch", "4", "--steps", "3"]
    )

    throughput.main()

    report = json.loads(capsys.readouterr().out)
    figures = report["models"]["tiny"]["mmr"]
    assert figures["samples_per_s"] == pytest.approx(4000 / figures["step_ms"], rel=0.01)
    assert 0 < figures["mfu"] < 1
    assert 0 <= figures["data_wait_share"] <= 1
    assert report["peak_from"].startswith("measured here")
    assert "open_clip" in report["models"]["tiny"]


def test_flops_of_a_sample_are_those_that_pytorch_counts() -> None:
    throughput = load("train_throughput")
    size = throughput.SIZES["tiny"]
    towers = throughput.Towers(size)
    for model in (towers.image.backbone, towers.text.backbone):
        model.set_attn_implementation("eager")  # the counter knows no fused attention of a CPU
    pixels = torch.zeros(2, 3, size.pixels, size.pixels, dtype=torch.uint8)
    tokens = torch.ones(2, size.text.tokens, dtype=torch.int64)

    with FlopCounterMode(display=False) as counter:
        image = towers.image_head(towers.image(pixels))
        text = towers.text_head(towers.text(tokens, torch.ones_like(tokens)))
        forward = counter.get_total_flops()
        (image.sum() + text.sum()).backward()

    assert 2 * size.forward_flops() == pytest.approx(forward, rel=0.01)
    assert 2 * size.step_flops() == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_vit_b_32_needs_the_flops_that_open_clip_states() -> None:
    size = load("train_throughput").SIZES["vit-b-32"]

    # docs/model_profile.csv of open_clip
    assert size.forward_flops() / 1e9 == pytest.approx(14.78, rel=0.01)


def test_data_wait_reports_share_and_memory(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    preset = tmp_path / "settings.yaml"
    preset.write_text(yaml.safe_dump(tiny_settings.model_dump(mode="json")))
    arguments = [str(tiny_dataset), "--preset", str(preset), "--steps", "3", "--pixels", "24"]
    monkeypatch.setattr(sys, "argv", ["data_wait.py", *arguments])

    load("data_wait").main()

    report = json.loads(capsys.readouterr().out)
    assert report["products"] == 120
    assert report["pixels"] == [24, 24]
    assert report["steps"] == 3
    assert 0 <= report["data_wait_share"] <= 1
    assert 0 < report["resident_mib"]["pss"] <= report["resident_mib"]["rss"]
    assert report["peak_resident_mib"] > 0.9 * report["resident_mib"]["rss"]


def test_trimmed_frame_compares_steps_of_both_frames(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = tiny_settings.model_dump(mode="json")
    plain["model"]["vision"] |= {"height": 32, "width": 64}
    preset = tmp_path / "settings.yaml"
    preset.write_text(yaml.safe_dump(plain))
    arguments = [str(tiny_dataset), "--preset", str(preset), "--rounds", "3", "--batch", "8"]
    monkeypatch.setattr(sys, "argv", ["trimmed_frame.py", *arguments])

    load("trimmed_frame").main()

    report = json.loads(capsys.readouterr().out)
    assert report["whole"]["frame"] == "32x64"
    assert report["trimmed"]["frame"] == "32x32"  # the tiny shop's photographs are square
    assert report["batch"] == 8
    assert report["whole"]["step_ms"] > 0
    assert report["trimmed"]["step_ms"] > 0
    assert report["ratio"] > 0
