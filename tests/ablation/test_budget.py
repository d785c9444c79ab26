"""How many photographs a stage is said to process, beside what it draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmr.ablation.budget import image_samples
from mmr.ablation.source import prepared_dataset
from mmr.config.run import RunSettings
from mmr.config.training import AlignStageSettings, StageSettings


@pytest.fixture
def prepared(tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path) -> Path:
    return prepared_dataset(str(tiny_dataset), settings=tiny_settings.prepare, cache=tmp_path)


def with_hard_negatives(settings: RunSettings, count: int) -> AlignStageSettings:
    techniques = {"hard_negatives": {"count": count, "depth": 5, "every": 10}}
    values = settings.align_stage.model_dump()
    values["stage"]["techniques"] = techniques
    return AlignStageSettings.model_validate(values)


def test_photographs_of_hard_negatives_are_counted(
    prepared: Path, tiny_settings: RunSettings
) -> None:
    queries = tiny_settings.align.batch.queries
    without, one, three = (
        image_samples(prepared, with_hard_negatives(tiny_settings, count), steps=100)
        for count in (0, 1, 3)
    )

    assert without < one <= without + 100 * queries
    assert one < three <= without + 300 * queries


def test_a_stage_that_reads_kept_features_processes_no_photograph(
    prepared: Path, tiny_settings: RunSettings
) -> None:
    fusion: StageSettings = tiny_settings.fusion_stage

    assert image_samples(prepared, fusion, steps=100) == 0
