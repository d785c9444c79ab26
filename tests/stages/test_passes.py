"""Every stage ends after its passes over the photographs or queries, whatever its steps allow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.stages.training_data import open_catalogue, open_judged

PASSES = 1.5


@pytest.mark.parametrize("name", ["text_only", "vision", "align", "fusion"])
def test_a_stage_ends_after_its_passes(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
    name: str,
) -> None:
    stage = getattr(tiny_settings, name)
    loop = stage.loop.model_copy(update={"steps": 1000, "passes": PASSES, "validate_every": 500})
    settings = tiny_settings.model_copy(update={name: stage.model_copy(update={"loop": loop})})
    data, cache = Dataset(tiny_dataset), tmp_path / "cache"
    queries = len(open_judged(data, "train"))
    vision = settings.model.vision
    photographs = int(open_catalogue(data, vision=vision, cache=cache).has_image.sum())
    text, mean = untrained_model(FusionKind.TEXT_ONLY), untrained_model(FusionKind.MEAN)
    common = {"dataset": tiny_dataset, "out": tmp_path / "model", "cache": cache}

    if name == "text_only":
        report = stages.train_text_only(**common, settings=settings.text_only_stage)
    elif name == "vision":
        report = stages.finetune_vision(**common, text_only=text, settings=settings.vision_stage)
    elif name == "align":
        report = stages.align_queries(**common, vision=mean, settings=settings.align_stage)
    else:
        report = stages.train_fusion(**common, aligned=mean, settings=settings.fusion_stage)

    rows = photographs if name == "vision" else queries
    batch = stage.batch_size if name == "vision" else stage.batch.queries
    assert report.steps == math.ceil(PASSES * rows / batch) < 50
    history = json.loads((tmp_path / "model" / "training.json").read_text())["history"]
    own = [entry["step"] for entry in history if entry["stage"] == report.stage]
    assert own[-1] == report.steps
    assert len(own) > 1  # validated on the way too
