"""Shares of text and image in a vector are stated where they are true, and only there."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmr.config.model import CrossAttentionSettings
from mmr.models.cross_attention import CrossAttention
from mmr.models.fusion import BilinearExperts, Concat, Mean, ModalAdaptation
from mmr.models.fusion_base import ProductTokens, TokenChannels
from mmr.models.shares import modality_shares

HAS_TEXT = torch.tensor([True, True, False, True])
HAS_IMAGE = torch.tensor([True, False, True, True])


def unit(seed: int) -> Tensor:
    return F.normalize(torch.randn(4, 12, generator=torch.Generator().manual_seed(seed)), dim=-1)


def shares_of(fusion, has_text: Tensor = HAS_TEXT, has_image: Tensor = HAS_IMAGE) -> Tensor | None:
    text, image = unit(1), unit(2)
    vectors = fusion(text, image, has_text=has_text, has_image=has_image)
    return modality_shares(
        fusion, text, image, vectors=vectors, has_text=has_text, has_image=has_image
    )


def disturbed(fusion: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    return fusion


@pytest.mark.parametrize("weight", [0.7, -0.7])
@torch.no_grad()
def test_shares_of_the_experts_and_the_joint_expert_rebuild_the_vector(weight: float) -> None:
    fusion = disturbed(BilinearExperts(12, rank=6))
    fusion.bilinear_weight.fill_(weight)

    shares = shares_of(fusion)

    assert shares is not None
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert shares[1].tolist() == [1.0, 0.0, 0.0]  # no image
    assert shares[2].tolist() == [0.0, 1.0, 0.0]  # no text
    text, image = unit(1), unit(2)
    gate = fusion.modality_weights(text, image, has_text=HAS_TEXT, has_image=HAS_IMAGE)
    torch.testing.assert_close(shares[0, :2], gate[0] / 1.7)
    assert shares[0, 2].item() == pytest.approx(0.7 / 1.7)
    parts = [
        fusion.text_expert(text),
        fusion.image_expert(image),
        F.normalize(fusion.joint(text, image, None), dim=-1),
    ]
    told = sum(shares[0, column] * part[0] for column, part in enumerate(parts))
    vector = fusion(text, image, has_text=HAS_TEXT, has_image=HAS_IMAGE)[0]
    torch.testing.assert_close(F.normalize(told, dim=0), vector)


def test_modal_adaptations_shares_are_its_two_weights() -> None:
    fusion = disturbed(ModalAdaptation(12))

    shares = shares_of(fusion)

    assert shares is not None
    gate = fusion.modality_weights(unit(1), unit(2), has_text=HAS_TEXT, has_image=HAS_IMAGE)
    torch.testing.assert_close(shares[:, :2], gate)
    assert shares[:, 2].tolist() == [0.0] * 4


def test_a_fusion_that_mixes_channels_states_no_shares() -> None:
    assert shares_of(disturbed(Concat(12))) is None


def test_a_product_with_nothing_has_no_shares() -> None:
    nothing = torch.tensor([False, True, True, True])

    shares = shares_of(Mean(), HAS_TEXT & nothing, nothing)

    assert shares is not None
    assert shares[0].isnan().all()
    assert not shares[1:].isnan().any()


@torch.no_grad()
def test_what_cross_attention_adds_has_a_share_of_its_own() -> None:
    fusion = disturbed(
        CrossAttention(
            12,
            settings=CrossAttentionSettings(image_cells=2, width=8, heads=2),
            channels=TokenChannels(6, 10),
        )
    )
    tokens = ProductTokens(torch.randn(4, 3, 6), torch.ones(4, 3).bool(), torch.randn(4, 4, 10))
    text, image = unit(1), unit(2)
    masks = {"has_text": HAS_TEXT, "has_image": HAS_IMAGE, "tokens": tokens}

    shares = modality_shares(fusion, text, image, vectors=fusion(text, image, **masks), **masks)

    assert shares is not None
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert shares[1].tolist() == [1.0, 0.0, 0.0]  # no image
    added = fusion.out(fusion.evidence(tokens)).norm(dim=-1)
    torch.testing.assert_close(shares[0, 2], added[0] / (1 + added[0]))
