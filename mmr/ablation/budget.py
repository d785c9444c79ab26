"""How many photographs a stage sends through the image network: its compute, on any machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mmr.config.training import (
    AlignStageSettings,
    EndToEndStageSettings,
    StageSettings,
    VisionStageSettings,
)
from mmr.data.dataset import Dataset
from mmr.stages.training_data import open_judged, product_texts
from mmr.training.data import QueryBatches
from mmr.types import Int64Array

_DRAWN = 24  # batches whose mean size stands for all


def image_samples(dataset: Path, settings: StageSettings, *, steps: int) -> int:
    """Photographs that `steps` steps of a stage process forwards and backwards.

    Validation and mining, which have no backward pass, are not counted, and stage C counts nothing:
    it reads each photograph's kept features. Batches of queries differ a little in their number of
    products, so theirs is the mean of the first batches. Which hard negatives there will be is not
    known before training; as many products drawn at random stand for them.
    """
    opened = Dataset(dataset)
    if isinstance(settings, VisionStageSettings):
        return steps * min(settings.stage.batch_size, _with_both(opened))
    if isinstance(settings, AlignStageSettings | EndToEndStageSettings):
        hard = settings.stage.techniques.hard_negatives.count
        batches = QueryBatches(
            open_judged(opened, "train"),
            products=len(opened),
            settings=settings.stage.batch,
            seed=settings.seed,
            further=[partial(_as_many_at_random, count=hard, products=len(opened))],
        )
        return round(steps * float(np.mean([len(batches(i).products) for i in range(_DRAWN)])))
    return 0


def _as_many_at_random(queries: Int64Array, step: int, *, count: int, products: int) -> Int64Array:
    drawn = np.random.default_rng(step).integers(0, products, count * len(queries))
    return np.unique(drawn).astype(np.int64)


def _with_both(dataset: Dataset) -> int:
    images = dataset.product_table(["product_id", "image.path"])["image"].is_valid().to_pylist()
    texts = product_texts(dataset)
    return sum(bool(text) and image for text, image in zip(texts, images, strict=True))
