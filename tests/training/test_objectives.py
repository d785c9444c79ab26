"""What the settings of an objective do to its loss, on a real retriever of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmr.config.training import (
    FusionStageSettings,
    LossSettings,
    VisionStage,
    VisionStageSettings,
)
from mmr.training.losses import pair_contrastive_loss
from mmr.training.objectives import VisionObjective, photographs, same_text
from mmr.training.scale import LearntScale
from tests.training.small_objectives import (
    align_objective,
    end_to_end_objective,
    fusion_objective,
    loss_at,
)


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
            objective = align_objective(tiny_shop, images_at_once=at_once)
        else:
            objective = end_to_end_objective(tiny_shop, images_at_once=at_once)
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
    tiny_shop.retriever.eval()
    without, half, whole = (
        loss_at(align_objective(tiny_shop, domain_weight=weight, augment=False)).item()
        for weight in (0.0, 0.5, 1.0)
    )

    objective = align_objective(tiny_shop, augment=False)
    batch = objective.batch(0)
    text = tiny_shop.retriever.text_head(tiny_shop.inputs.text.products(batch.products))
    image = tiny_shop.retriever.image_embedding(photographs(batch))
    same = same_text(tiny_shop.inputs.catalogue, batch.products, text.device)
    domain = pair_contrastive_loss(image, text, same, scale=objective.scale()).item()
    assert half - without == pytest.approx(domain / 2, rel=1e-3)
    assert whole - without == pytest.approx(domain, rel=1e-3)
