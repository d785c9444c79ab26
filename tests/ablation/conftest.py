"""Settings and dataset that the test files of whole ladders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmr.config.run import RunSettings


@pytest.fixture(scope="module")
def settings(tiny_settings: RunSettings) -> RunSettings:
    gate = tiny_settings.gate.model_copy(update={"resamples": 199, "min_slice_queries": 3})
    return tiny_settings.model_copy(update={"gate": gate})


@pytest.fixture(scope="module")
def prepared(
    tiny_dataset: Path, settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from mmr.ablation.source import prepared_dataset

    cache = tmp_path_factory.mktemp("prepared")
    return prepared_dataset(str(tiny_dataset), settings=settings.prepare, cache=cache)
