"""Settings that the test files of whole ladders share."""

from __future__ import annotations

import pytest

from mmr.config.run import RunSettings


@pytest.fixture(scope="module")
def settings(tiny_settings: RunSettings) -> RunSettings:
    gate = tiny_settings.gate.model_copy(update={"resamples": 199, "min_slice_queries": 3})
    return tiny_settings.model_copy(update={"gate": gate})
