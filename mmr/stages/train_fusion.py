"""Stage C: the fusion network learns, on the product side only."""

from __future__ import annotations

from pathlib import Path

from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.stages.adoption import complete_fusion_if_better
from mmr.stages.fusion_training import fusion_run
from mmr.stages.stage_report import StageReport


def train_fusion(
    *, dataset: Path, aligned: Path, out: Path, settings: FusionStageSettings, cache: Path
) -> StageReport:
    """Trains fusion and heads on the kept features of frozen backbones.

    Then the image head of products without a text learns by itself, as the rest is done. With
    `fusion.only_if_better` a concatenation may take the fusion network's place.

    Args:
        dataset: A prepared dataset.
        aligned: Model written by `align_queries`.
        out: The model directory to write.
        settings: All that decides the result.
        cache: Content-addressed results and checkpoints.
    """
    run = fusion_run(Dataset(dataset), aligned, settings, cache=cache)
    return complete_fusion_if_better(run, aligned, settings, out)
