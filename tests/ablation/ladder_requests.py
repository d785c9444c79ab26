"""Requests for ladders with tiny models, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmr.ablation.climb import LadderRequest
from mmr.config.run import RunSettings


def request_of(dataset: Path, settings: RunSettings, workspace: Path, **more: Any) -> LadderRequest:
    given = {"ladder": "paper", "seeds": 1, "only": (), **more}
    return LadderRequest(
        source=str(dataset), settings=settings, preset="tiny", workspace=workspace, **given
    )


def stage_of(model: Path) -> str:
    """The stage that made a model."""
    return str(json.loads((model / "training.json").read_text())["stage"])
