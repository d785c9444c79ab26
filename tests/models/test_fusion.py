import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmr.config.model import FusionKind, ModelSettings
from mmr.models.fusion import BilinearExperts, ModalAdaptation, masked_weights, new_fusion

SETTINGS = ModelSettings(dim=12, bilinear_rank=6)
LEARNT = [
    FusionKind.MEAN,
    FusionKind.CONCAT,
    FusionKind.MODAL_ADAPTATION,
    FusionKind.BILINEAR_EXPERTS,
]


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 12, generator=torch.Generator().manual_seed(seed)), dim=-1)


def everything(rows: int) -> dict[str, Tensor]:
    return {"has_text": torch.ones(rows).bool(), "has_image": torch.ones(rows).bool()}


@pytest.mark.parametrize("kind", list(FusionKind))
def test_every_fusion_returns_unit_vectors_even_for_a_product_with_nothing(
    kind: FusionKind,
) -> None:
    present = torch.tensor([True, False, True, False])
    fused = new_fusion(kind, SETTINGS)(
        unit(4, 1), unit(4, 2), has_text=present, has_image=torch.tensor([True, True, False, False])
    )

    assert fused.shape == (4, 12)
    if kind is FusionKind.CONCAT:  # its learnt stand-ins start at zero: nothing known, no direction
        fused = fused[:3]
    torch.testing.assert_close(fused.norm(dim=-1), torch.ones(len(fused)))


@pytest.mark.parametrize("kind", LEARNT)
def test_a_trained_fusion_starts_exactly_at_the_mean_of_both_modalities(kind: FusionKind) -> None:
    text, image = unit(5, 1), unit(5, 2)

    fused = new_fusion(kind, SETTINGS)(text, image, **everything(5))

    torch.testing.assert_close(fused, F.normalize(text + image, dim=-1))


@pytest.mark.parametrize("kind", LEARNT)
def test_before_training_a_missing_modality_leaves_the_other_untouched(kind: FusionKind) -> None:
    text, image = unit(3, 1), unit(3, 2)
    some = torch.tensor([True, False, True])

    fused = new_fusion(kind, SETTINGS)(text, image, has_text=some, has_image=~some)

    torch.testing.assert_close(fused, torch.where(some.unsqueeze(1), text, image))


def test_a_missing_modality_weighs_nothing_however_the_gate_was_trained() -> None:
    torch.manual_seed(0)
    fusion = BilinearExperts(12, rank=6)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)
    text, image = unit(4, 1), unit(4, 2)
    no_image = torch.zeros(4, dtype=torch.bool)

    fused = fusion(text, image, has_text=~no_image, has_image=no_image)

    torch.testing.assert_close(fused, text)


@torch.no_grad()
def test_the_bilinear_expert_is_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    fusion = BilinearExperts(12, rank=6)
    with torch.no_grad():
        fusion.bilinear_weight.fill_(0.7)
        torch.nn.init.normal_(fusion.gate[-1].weight)
    text, image = unit(2, 1), unit(2, 2)

    fused = fusion(text, image, **everything(2))

    for row in range(2):
        t, v = text[row], image[row]
        gate = fusion.gate(torch.cat([t, v, t * v])).softmax(0)
        product = fusion.text_factor(t) * fusion.image_factor(v)
        rooted = torch.tensor([x.sign() * abs(x).sqrt() for x in product])
        b = F.normalize(fusion.bilinear_out(F.normalize(rooted, dim=0)), dim=0)
        expected = F.normalize(gate[0] * t + gate[1] * v + 0.7 * b, dim=0)
        torch.testing.assert_close(fused[row], expected, atol=1e-4, rtol=1e-4)


def test_masked_weights_are_shares_and_absent_experts_weigh_exactly_zero() -> None:
    present = torch.tensor([[True, False], [True, True], [False, False]])

    weights = masked_weights(torch.tensor([[1.0, 9.0], [0.0, 0.0], [3.0, 1.0]]), present)

    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert weights[0].tolist() == [1.0, 0.0]
    assert weights[1].tolist() == [0.5, 0.5]


@torch.no_grad()
def test_modal_adaptation_blends_each_product_by_weights_of_its_own() -> None:
    torch.manual_seed(0)
    fusion = ModalAdaptation(12)
    torch.nn.init.normal_(fusion.weigh.weight)
    text, image = unit(3, 1), unit(3, 2)

    fused = fusion(text, image, **everything(3))
    weights = fusion.modality_weights(text, image, **everything(3))

    expected = (fusion.weigh(torch.cat([text, image], dim=-1))).softmax(-1)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(
        fused, F.normalize(expected[:, :1] * text + expected[:, 1:] * image, dim=-1)
    )
    assert weights[0, 0] != weights[1, 0]
