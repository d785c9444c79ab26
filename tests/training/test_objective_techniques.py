"""What techniques do to an objective's batches and loss, on a real retriever of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmr.config.techniques import TechniqueSettings
from mmr.config.training import (
    AlignStage,
    AlignStageSettings,
    EndToEndStage,
    EndToEndStageSettings,
    TextOnlyStage,
    TextOnlyStageSettings,
)
from mmr.training.end_to_end_objective import EndToEndObjective
from mmr.training.hard_negatives import LAG
from mmr.training.losses import distillation_loss
from mmr.training.objectives import AlignObjective, TextOnlyObjective
from mmr.training.query_objective import QueryObjective
from mmr.training.scorers import EmbeddingScorer
from mmr.training.text_source import KeptText
from tests.training.small_objectives import BATCH, fusion_objective, loss_at

EVERYTHING = TechniqueSettings.model_validate(
    {
        "masking": {"same_text": True, "same_query": True, "guide_margin": 0.05},
        "keyword_enhancement": {"sibling_products": "ignored", "enrichment": 0.5},
        "hard_negatives": {"count": 2, "depth": 5, "every": 10, "ceiling": 1.5},
        "query_text": {"wordings": 2},
        "distillation": {"teacher": "given by the stage", "weight": 0.7, "scale": 5.0},
    }
)


def with_aids(shop: Any) -> Any:
    """The shop with all that techniques ask for: guide, teacher, categories, wordings."""
    random = np.random.default_rng(5)
    guide, teacher = (
        EmbeddingScorer(
            random.normal(size=(12, 4)).astype("f4"), random.normal(size=(40, 4)).astype("f4")
        )
        for _ in range(2)
    )
    features = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(2))
    text = KeptText(features[0], torch.randn(40, 16), [features[1], features[2]])
    inputs = replace(shop.inputs, guide=guide, teacher=teacher, text=text)
    return replace(shop, inputs=inputs)


def test_masked_cells_change_the_loss_and_gradients_stay_finite(tiny_shop: Any) -> None:
    shop = replace(
        tiny_shop,
        inputs=replace(
            tiny_shop.inputs,
            catalogue=replace(
                tiny_shop.inputs.catalogue, text_groups=np.arange(40, dtype=np.int64) // 4
            ),
        ),
    )
    masked = TechniqueSettings.model_validate({"masking": {"same_text": True}})

    plain, loss = (
        loss_at(fusion_objective(shop)),
        loss_at(fusion_objective(shop, techniques=masked)),
    )
    loss.backward()

    assert loss.item() < plain.item()
    for parameter in shop.retriever.query_head.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


def test_a_teachers_divergence_is_added_by_its_weight(tiny_shop: Any) -> None:
    shop = with_aids(tiny_shop)
    alone = replace(shop, inputs=replace(shop.inputs, teacher=None))
    techniques = TechniqueSettings.model_validate(
        {"distillation": {"teacher": "given", "weight": 0.7, "scale": 5.0}}
    )

    loss = loss_at(fusion_objective(shop, techniques=techniques)).item()

    plain = fusion_objective(alone, techniques=techniques)
    batch = plain.batch(0)
    scores = (
        plain.scale() * plain.query_embeddings(batch) @ (plain.product_embeddings(batch.products).T)
    )
    teacher = 5.0 * shop.inputs.teacher.scores(batch.queries, batch.products)
    added = 0.7 * distillation_loss(scores, teacher).item()
    assert added > 0.01
    assert loss == pytest.approx(loss_at(plain).item() + added, rel=1e-4)


def test_enriched_queries_are_drawn_towards_their_siblings(tiny_shop: Any) -> None:
    enriched = TechniqueSettings.model_validate({"keyword_enhancement": {"enrichment": 0.5}})
    objective = fusion_objective(tiny_shop, techniques=enriched)
    batch = objective.batch(0)
    assert batch.siblings is not None
    own = fusion_objective(tiny_shop).query_embeddings(batch := objective.batch(0))
    plain = objective.query_embeddings(replace(batch, siblings=None))
    mixed = objective.query_embeddings(batch)

    has_siblings = torch.from_numpy((batch.siblings >= 0).any(1))
    assert bool(has_siblings.any())
    assert not torch.allclose(own[has_siblings], mixed[has_siblings])
    torch.testing.assert_close(plain[~has_siblings], mixed[~has_siblings])
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(len(mixed)))


def test_other_wordings_are_read_from_the_features_kept_for_them(tiny_shop: Any) -> None:
    shop = with_aids(tiny_shop)
    reworded = TechniqueSettings.model_validate({"query_text": {"wordings": 2, "share": 1.0}})
    objective = fusion_objective(shop, techniques=reworded)
    batch = objective.batch(0)
    assert batch.wordings is not None
    assert set(batch.wordings.tolist()) <= {1, 2}

    mixed = objective.query_embeddings(batch)

    features = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(2))
    own = features[torch.from_numpy(batch.wordings), torch.from_numpy(batch.queries)]
    torch.testing.assert_close(mixed, shop.retriever.query_head(own))


def new_text_only(shop: Any) -> QueryObjective:
    stage = TextOnlyStage(batch=BATCH, techniques=EVERYTHING)
    return TextOnlyObjective(
        shop.retriever, shop.inputs, TextOnlyStageSettings(model=shop.model, stage=stage)
    )


def new_align(shop: Any) -> QueryObjective:
    stage = AlignStage(batch=BATCH, techniques=EVERYTHING, augment=False)
    return AlignObjective(
        shop.retriever, shop.inputs, AlignStageSettings(model=shop.model, stage=stage)
    )


def new_end_to_end(shop: Any) -> QueryObjective:
    stage = EndToEndStage(batch=BATCH, techniques=EVERYTHING, augment=False)
    return EndToEndObjective(
        shop.retriever, shop.inputs, EndToEndStageSettings(model=shop.model, stage=stage)
    )


def new_fusion(shop: Any) -> QueryObjective:
    return fusion_objective(shop, techniques=EVERYTHING)


STAGES = [new_text_only, new_align, new_fusion, new_end_to_end]


@pytest.mark.parametrize("build", STAGES)
def test_with_every_technique_a_batch_still_depends_on_seed_and_step_alone(
    tiny_shop: Any, build: Callable[[Any], QueryObjective]
) -> None:
    shop = with_aids(tiny_shop)
    first, again = build(shop), build(shop)
    for step in range(3):
        loss_at(first, step)
    again.kept.load_state_dict(first.kept.state_dict())  # what a checkpoint hands on

    for step in (LAG, LAG + 2):
        one, two = first.batch(step), again.batch(step)
        for name in ("queries", "products", "wordings", "siblings"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert torch.equal(one.targets.grades, two.targets.grades)
        assert loss_at(first, step).item() == loss_at(again, step).item()


@pytest.mark.parametrize("build", STAGES)
def test_mined_products_join_the_batch_and_the_model_trains_on_as_it_was(
    tiny_shop: Any, build: Callable[[Any], QueryObjective]
) -> None:
    shop = with_aids(tiny_shop)
    objective = build(shop)
    shop.retriever.train()
    shop.retriever.text_encoder.eval()  # a part that rests

    objective.loss(objective.batch(0))

    assert shop.retriever.query_head.training
    assert not shop.retriever.text_encoder.training
    tables = objective.kept.state_dict()["hard_negatives.tables"]
    assert bool((tables[0] >= 0).any())
    assert bool((tables[1] == -1).all())
    plain = objective._batches._further
    objective._batches._further = ()
    before = set(objective.batch(LAG).products.tolist())
    objective._batches._further = plain
    after = set(objective.batch(LAG).products.tolist())
    assert before < after
    assert after - before <= set(tables[0].unique().tolist())
    state = torch.random.get_rng_state()
    objective._mined.mine(objective._embedded, step=0)
    assert torch.equal(torch.random.get_rng_state(), state)
