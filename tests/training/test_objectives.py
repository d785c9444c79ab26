"""What the settings of an objective do to its loss, on a real retriever of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmr.config.techniques import TechniqueSettings
from mmr.config.training import (
    AlignStage,
    AlignStageSettings,
    EndToEndStage,
    EndToEndStageSettings,
    FusionStage,
    FusionStageSettings,
    LossSettings,
    QueryBatchSettings,
    TextOnlyStage,
    TextOnlyStageSettings,
    VisionStage,
    VisionStageSettings,
)
from mmr.training.end_to_end_objective import EndToEndObjective
from mmr.training.fusion_objective import FusionObjective
from mmr.training.hard_negatives import LAG
from mmr.training.losses import distillation_loss, pair_contrastive_loss
from mmr.training.objectives import (
    AlignObjective,
    TextOnlyObjective,
    VisionObjective,
    photographs,
    same_text,
)
from mmr.training.query_objective import QueryObjective
from mmr.training.scale import LearntScale
from mmr.training.scorers import EmbeddingScorer
from mmr.training.text_source import KeptText

BATCH = QueryBatchSettings(queries=6, positives=2, negatives=8)
EVERYTHING = TechniqueSettings.model_validate(
    {
        "masking": {"same_text": True, "same_query": True, "guide_margin": 0.05},
        "keyword_enhancement": {"sibling_products": "ignored", "enrichment": 0.5},
        "hard_negatives": {"count": 2, "depth": 5, "every": 10, "ceiling": 1.5},
        "query_text": {"wordings": 2},
        "distillation": {"teacher": "given by the stage", "weight": 0.7, "scale": 5.0},
    }
)


def fusion_objective(
    shop: Any, *, loss: LossSettings | None = None, **stage: Any
) -> FusionObjective:
    settings = FusionStageSettings(
        model=shop.model,
        loss=loss or LossSettings(),
        stage=FusionStage(batch=BATCH, **{"text_dropout": 0, "image_dropout": 0, **stage}),
    )
    return FusionObjective(shop.retriever, shop.inputs, shop.image_features, settings)


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


def loss_at(objective: Any, step: int = 0) -> Tensor:
    torch.manual_seed(step)
    return objective.loss(objective.batch(step))


def test_the_learnt_scale_starts_at_its_setting_and_never_passes_its_limit() -> None:
    scale = LearntScale(LossSettings(scale=20.0, max_scale=30.0))
    assert scale().item() == pytest.approx(20.0)

    with torch.no_grad():
        scale.log_scale.fill_(9.0)

    assert scale().item() == pytest.approx(30.0)


def test_the_scale_learns_with_the_loss(tiny_shop: Any) -> None:
    objective = fusion_objective(tiny_shop)

    loss_at(objective).backward()

    assert objective.scale.log_scale.grad is not None
    assert objective.scale.log_scale.grad.item() != 0


def test_the_kept_losses_of_stage_b_count_by_their_weight(tiny_shop: Any) -> None:
    without, half, whole = (
        loss_at(fusion_objective(tiny_shop, auxiliary_weight=weight)).item()
        for weight in (0.0, 0.5, 1.0)
    )

    objective = fusion_objective(tiny_shop)
    batch = objective.batch(0)
    text, image = objective._modalities(batch.products)
    single = objective.single_modalities(
        objective.query_embeddings(batch), text, image, batch.products, batch.targets
    )
    assert half - without == pytest.approx((whole - without) / 2, rel=1e-4)
    assert whole - without == pytest.approx(sum(loss.item() for loss in single), rel=1e-4)


def test_modality_dropout_hides_one_modality_of_products_that_have_both(tiny_shop: Any) -> None:
    catalogue = tiny_shop.inputs.catalogue
    catalogue.has_text[:10], catalogue.has_image[10:20] = False, False
    seen: list[tuple[Tensor, Tensor]] = []
    tiny_shop.retriever.fusion.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((kwargs["has_text"], kwargs["has_image"])),
        with_kwargs=True,
    )
    rows: list[np.ndarray] = []
    objective = fusion_objective(tiny_shop, text_dropout=0.3, image_dropout=0.2)
    for step in range(25):
        loss_at(objective, step)
        rows.append(objective.batch(step).products)

    products = np.concatenate(rows)
    shown_text = torch.cat([text for text, _ in seen]).numpy()
    shown_image = torch.cat([image for _, image in seen]).numpy()
    had_text, had_image = catalogue.has_text[products], catalogue.has_image[products]
    both = had_text & had_image
    assert (shown_text | shown_image)[had_text | had_image].all()
    assert (shown_text[~both] == had_text[~both]).all()
    assert (shown_image[~both] == had_image[~both]).all()
    assert abs((~shown_text[both]).mean() - 0.3) < 0.07
    assert abs((~shown_image[both]).mean() - 0.2) < 0.07


def test_without_modality_dropout_nothing_is_hidden(tiny_shop: Any) -> None:
    objective = fusion_objective(tiny_shop)
    rows = objective.batch(0).products

    shown = objective._dropped(*objective.present(rows))

    assert all(bool(mask.all()) for mask in shown)


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


def test_matryoshka_adds_the_loss_of_each_prefix(tiny_shop: Any) -> None:
    plain = loss_at(fusion_objective(tiny_shop, auxiliary_weight=0)).item()
    nested = fusion_objective(
        tiny_shop, auxiliary_weight=0, loss=LossSettings(matryoshka_dims=(8, 4))
    )

    loss = loss_at(nested)

    objective = fusion_objective(tiny_shop, auxiliary_weight=0)
    batch = objective.batch(0)
    query = objective.query_embeddings(batch)
    product = objective.product_embeddings(batch.products)
    prefixes = [
        objective.matching(
            nn.functional.normalize(query[:, :dim], dim=-1),
            nn.functional.normalize(product[:, :dim], dim=-1),
            batch.targets,
        ).item()
        for dim in (8, 4)
    ]
    assert loss.item() == pytest.approx(plain + sum(prefixes), rel=1e-5)


def test_matryoshka_dimensions_stay_below_the_models() -> None:
    with pytest.raises(ValueError, match=r"model\.dim"):
        FusionStageSettings(loss=LossSettings(matryoshka_dims=(192, 384)))


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


def evaluated(norm: nn.Module, args: Any) -> None:
    norm.eval()


@pytest.mark.parametrize("stage", ["vision", "align", "end to end"])
def test_images_in_parts_give_the_loss_and_gradients_of_one_pass(
    tiny_shop: Any, stage: str
) -> None:
    retriever = tiny_shop.retriever
    for module in retriever.modules():  # batch norm would normalise over parts
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(evaluated)

    def run(at_once: int) -> tuple[float, dict[str, Tensor]]:
        retriever.zero_grad()
        objective: Any
        if stage == "vision":
            vision = VisionStage(batch_size=24, augment=True, images_at_once=at_once)
            objective = VisionObjective(
                retriever,
                tiny_shop.inputs,
                VisionStageSettings(model=tiny_shop.model, stage=vision),
            )
        elif stage == "align":
            align = AlignStage(batch=BATCH, images_at_once=at_once)
            objective = AlignObjective(
                retriever, tiny_shop.inputs, AlignStageSettings(model=tiny_shop.model, stage=align)
            )
        else:
            whole = EndToEndStage(batch=BATCH, images_at_once=at_once)
            objective = EndToEndObjective(
                retriever,
                tiny_shop.inputs,
                EndToEndStageSettings(model=tiny_shop.model, stage=whole),
            )
        loss = loss_at(objective)
        loss.backward()
        return loss.item(), {
            name: parameter.grad.clone()
            for name, parameter in retriever.named_parameters()
            if parameter.grad is not None
        }

    loss, whole = run(0)
    in_parts, parts = run(5)

    assert in_parts == pytest.approx(loss, rel=1e-5)
    assert any(name.startswith("image_encoder") for name in whole)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[name], rtol=1e-3, atol=1e-6)


def test_the_kept_loss_of_stage_a_counts_by_its_weight(tiny_shop: Any) -> None:
    def objective(weight: float) -> AlignObjective:
        stage = AlignStage(batch=BATCH, domain_weight=weight, augment=False)
        settings = AlignStageSettings(model=tiny_shop.model, stage=stage)
        return AlignObjective(tiny_shop.retriever.eval(), tiny_shop.inputs, settings)

    without, half, whole = (loss_at(objective(weight)).item() for weight in (0.0, 0.5, 1.0))

    batch = objective(0.0).batch(0)
    text = tiny_shop.retriever.text_head(tiny_shop.inputs.text.products(batch.products))
    image = tiny_shop.retriever.image_embedding(photographs(batch))
    same = same_text(tiny_shop.inputs.catalogue, batch.products, text.device)
    domain = pair_contrastive_loss(image, text, same, scale=objective(0.0).scale()).item()
    assert half - without == pytest.approx(domain / 2, rel=1e-3)
    assert whole - without == pytest.approx(domain, rel=1e-3)
