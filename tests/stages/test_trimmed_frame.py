"""A new image tower sees a shop's photographs without the margins that they all would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data import framing
from mmr.data.dataset import Dataset
from mmr.models.storage import load_retriever
from mmr.stages.embedding import embed_products
from mmr.stages.training_data import framed
from mmr.stages.training_run import StageRun

Train = Callable[..., tuple[Path, Path]]


def with_vision(settings: RunSettings, **changed: Any) -> RunSettings:
    vision = settings.model.vision.model_copy(update=changed)
    model = settings.model.model_copy(update={"vision": vision})
    return settings.model_copy(update={"model": model})


@pytest.fixture(params=["stage A", "end to end"])
def train(
    request: pytest.FixtureRequest,
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
) -> Train:
    def run(name: str, **changed: Any) -> tuple[Path, Path]:
        settings = with_vision(tiny_settings, **changed)
        out, cache = tmp_path / name, tmp_path / f"cache-{name}"
        if request.param == "stage A":
            text_only = untrained_model(FusionKind.TEXT_ONLY)
            stages.finetune_vision(
                dataset=tiny_dataset,
                text_only=text_only,
                out=out,
                settings=settings.vision_stage,
                cache=cache,
            )
        else:
            stages.train_end_to_end(
                dataset=tiny_dataset, out=out, settings=settings.end_to_end_stage, cache=cache
            )
        return out, cache

    return run


def test_a_tower_whose_frame_is_trimmed_is_that_of_the_narrow_frame(
    train: Train, tiny_dataset: Path
) -> None:
    """The tiny shop's photographs are square, so half of a frame of 32 by 64 is margin."""
    trimmed, cache = train("trimmed", width=64, trim=True)
    narrow, _ = train("narrow", width=32)
    wide, _ = train("wide", width=64)

    sizes = {
        model: (vision.height, vision.width)
        for model in (trimmed, narrow, wide)
        for vision in [load_retriever(model).settings.vision]
    }
    assert sizes == {trimmed: (32, 32), narrow: (32, 32), wide: (32, 64)}
    metrics = {
        model: [
            entry["ndcg_at_10"]
            for entry in json.loads((model / "training.json").read_text())["history"]
        ]
        for model in sizes
    }
    assert metrics[trimmed] == metrics[narrow] != metrics[wide]
    embed_products(trimmed, Dataset(tiny_dataset), cache=cache)
    decoded = [entry.name for entry in (cache / "photographs").iterdir() if entry.is_dir()]
    assert [name.rsplit("-", 1)[1] for name in decoded] == ["32x32"]


@pytest.mark.parametrize(
    "changed",
    [{"trim": False}, {"trim": True, "fit": "stretch"}, {"trim": True, "backbone": "some/model"}],
)
def test_frames_stay_as_they_are_where_nothing_may_be_trimmed(
    tiny_dataset: Path, tiny_settings: RunSettings, changed: dict[str, Any]
) -> None:
    vision = with_vision(tiny_settings, width=64, **changed).model.vision

    assert framed(vision, Dataset(tiny_dataset)) == vision


def test_a_trimmed_frame_is_made_of_whole_patches(
    tiny_dataset: Path, tiny_settings: RunSettings
) -> None:
    architecture = {"model_type": "vit", "patch_size": 12}
    changed = {"width": 96, "trim": True, "architecture": architecture, "height": 40}
    vision = with_vision(tiny_settings, **changed).model.vision

    assert framed(vision, Dataset(tiny_dataset)).width == 48


def test_a_changed_rule_of_the_frame_does_not_meet_what_the_old_one_trained(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = StageRun(
        "finetune_vision", Dataset(tiny_dataset), None, tiny_settings.vision_stage, tmp_path
    )
    rule = Path(str(framing.__file__)).read_text(encoding="utf-8")
    changed = tmp_path / "framing.py"
    changed.write_text(rule.replace("_NEARLY_ALL = 0.95", "_NEARLY_ALL = 0.5"), encoding="utf-8")
    before = run.key

    monkeypatch.setattr(framing, "__file__", str(changed))

    assert run.key != before
