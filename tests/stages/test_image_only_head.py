"""Products without a text are served by an image head that learnt to do without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.models.storage import load_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import ProductTower, embed_queries
from mmr.stages.training_data import validation_scorer
from mmr.training import loop as training_loop

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def aligned(untrained_model: Callable[[FusionKind], Path]) -> Path:
    return untrained_model(FusionKind.MEAN)


@pytest.fixture
def train(aligned: Path, tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path) -> Train:
    """Stage C with some of its settings changed."""

    def trained(name: str = "model", **changes: object) -> Path:
        stage = tiny_settings.fusion.model_copy(update=changes)
        stages.train_fusion(
            dataset=tiny_dataset,
            aligned=aligned,
            out=tmp_path / name,
            settings=tiny_settings.model_copy(update={"fusion": stage}).fusion_stage,
            cache=tmp_path / f"cache-{name}",
        )
        return tmp_path / name

    return trained


def test_a_product_without_text_has_exactly_the_image_only_heads_embedding(
    train: Train, tiny_dataset: Path, tmp_path: Path
) -> None:
    tower = ProductTower.open(train(), Dataset(tiny_dataset), cache=tmp_path / "cache-model")
    rows = torch.nonzero(tower.products.has_image & tower.products.has_text)[:5, 0]
    assert tower.products.images is not None
    head, beside_text = tower.retriever.image_only_head, tower.retriever.image_head
    assert head is not None
    assert beside_text is not None

    textless = tower.vectors(rows.tolist(), text=False)

    alone, beside = (
        tower.retriever.served(image(tower.products.images[rows])).detach().numpy()
        for image in (head, beside_text)
    )
    np.testing.assert_allclose(textless, alone, atol=1e-6)
    assert np.abs(textless - beside).max() > 1e-3


def test_the_image_only_head_changes_no_product_that_has_a_text(
    train: Train, tiny_dataset: Path, tmp_path: Path
) -> None:
    dataset, towers = Dataset(tiny_dataset), []
    for name, steps in (("with", 12), ("without", 0)):
        model = train(name, image_only_steps=steps)
        towers.append(ProductTower.open(model, dataset, cache=tmp_path / f"cache-{name}"))
    rows = torch.nonzero(towers[0].products.has_text)[:, 0].tolist()

    np.testing.assert_array_equal(towers[0].vectors(rows), towers[1].vectors(rows))
    assert towers[1].retriever.image_only_head is None


def test_the_image_only_head_ends_no_worse_than_the_aligned_image_it_starts_from(
    train: Train, aligned: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    scorer, dataset = validation_scorer(Dataset(tiny_dataset)), Dataset(tiny_dataset)

    def without_text(model: Path) -> float:
        tower = ProductTower.open(model, dataset, cache=tmp_path / "cache")
        queries = embed_queries(model, scorer.queries, cache=tmp_path / "cache")
        products = tower.vectors(range(len(tower)), text=False)
        return scorer.score(queries, products).ndcg_at_10

    model = train(image_only_steps=60)

    assert without_text(model) >= without_text(aligned)
    history = json.loads((model / "training.json").read_text())["history"]
    alone = [entry for entry in history if entry["stage"] == "train_fusion.image_only"]
    assert max(entry["ndcg_at_10"] for entry in alone) == pytest.approx(
        without_text(model), abs=1e-6
    )


@pytest.mark.parametrize("kind", [FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY])
def test_towers_of_one_modality_need_no_further_head(train: Train, kind: FusionKind) -> None:
    assert load_retriever(train(kind=kind)).image_only_head is None


def test_a_stage_killed_while_the_image_only_head_learns_resumes_to_the_same_model(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train("unbroken")
    steps: list[int] = []
    whole_step = training_loop._Run.step

    def dying(run: Any, feed: Any) -> None:
        steps.append(run.state.step)
        if len(steps) == 23:  # the fusion's twelve steps, and eleven of the head's
            raise KeyboardInterrupt
        whole_step(run, feed)

    monkeypatch.setattr(training_loop._Run, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    resumed = train("killed")

    assert steps == [*range(12), *range(11), *range(8, 12)]
    assert encoder_fingerprint(resumed) == encoder_fingerprint(unbroken)
    assert not list((tmp_path / "cache-killed" / "checkpoints").iterdir())
