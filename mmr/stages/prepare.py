"""The preparation step: split queries, equal images."""

from __future__ import annotations

from pathlib import Path

from mmr.config.data import PrepareConfig
from mmr.data.dataset import Dataset
from mmr.data.importing import refuse_foreign_target
from mmr.data.prepare import PrepareReport, prepare_dataset


def prepare(
    *, dataset: Path, out: Path, settings: PrepareConfig, replace: bool = False
) -> PrepareReport:
    """Prepares a dataset for training.

    A split that the feed gives is respected; else queries are split so that equal normalised
    queries share a split, and a share of the products is kept out of the train judgements. Images
    become RGB JPEG of a bounded size. A dataset prepared with the same settings is linked.

    Args:
        dataset: The imported dataset.
        out: The prepared dataset to write; appears when it is whole.
        settings: Image size, shares and seed.
        replace: Whether a dataset at `out` may be replaced.

    Raises:
        DataContractError: `dataset` is no dataset, only part of its queries have a split, or an
            image is damaged.
        ArtifactError: `out` exists and may not be replaced.
    """
    refuse_foreign_target(out, marker="dataset.json", replace=replace)
    return prepare_dataset(Dataset(dataset), out=out, settings=settings, replace=replace)
