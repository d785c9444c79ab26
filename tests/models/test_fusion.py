import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmr.config.model import CrossAttentionSettings, FusionKind, ModelSettings
from mmr.models.fusion import BilinearExperts, Concat, Gate, ModalAdaptation, new_fusion
from mmr.models.fusion_base import Fusion, ProductTokens, TokenChannels, masked_weights

SETTINGS = ModelSettings(
    dim=12,
    bilinear_rank=6,
    cross_attention=CrossAttentionSettings(text_tokens=4, image_cells=2, width=8, heads=2),
)
CHANNELS = TokenChannels(text=6, image=10)
LEARNT = [kind for kind in FusionKind if kind not in {FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY}]


def fusion_of(kind: FusionKind) -> Fusion:
    torch.manual_seed(0)
    return new_fusion(kind, SETTINGS, CHANNELS)


def tokens(rows: int) -> ProductTokens:
    torch.manual_seed(3)
    return ProductTokens(
        text=torch.randn(rows, 4, 6),
        text_mask=torch.arange(4).unsqueeze(0) < torch.arange(1, rows + 1).clamp(max=4)[:, None],
        image=torch.randn(rows, 4, 10),
    )


def shuffled(fusion: Fusion) -> Fusion:
    """As if it had been trained: every parameter is somewhere."""
    torch.manual_seed(1)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fusion


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 12, generator=torch.Generator().manual_seed(seed)), dim=-1)


def everything(rows: int) -> dict[str, Tensor]:
    return {"has_text": torch.ones(rows).bool(), "has_image": torch.ones(rows).bool()}


@pytest.mark.parametrize("kind", list(FusionKind))
def test_every_fusion_returns_unit_vectors_even_for_a_product_with_nothing(
    kind: FusionKind,
) -> None:
    present = torch.tensor([True, False, True, False])
    fused = fusion_of(kind)(
        unit(4, 1),
        unit(4, 2),
        has_text=present,
        has_image=torch.tensor([True, True, False, False]),
        tokens=tokens(4),
    )

    assert fused.shape == (4, 12)
    torch.testing.assert_close(fused.norm(dim=-1), torch.ones(len(fused)))


@pytest.mark.parametrize("kind", LEARNT)
def test_a_trained_fusion_starts_exactly_at_the_mean_of_both_modalities(kind: FusionKind) -> None:
    text, image = unit(5, 1), unit(5, 2)

    fused = fusion_of(kind)(text, image, **everything(5), tokens=tokens(5))

    torch.testing.assert_close(fused, F.normalize(text + image, dim=-1))


@pytest.mark.parametrize("kind", LEARNT)
def test_before_training_a_missing_modality_leaves_the_other_untouched(kind: FusionKind) -> None:
    text, image = unit(3, 1), unit(3, 2)
    some = torch.tensor([True, False, True])

    fused = fusion_of(kind)(text, image, has_text=some, has_image=~some, tokens=tokens(3))

    torch.testing.assert_close(fused, torch.where(some.unsqueeze(1), text, image))


@pytest.mark.parametrize("kind", LEARNT)
def test_a_missing_modality_weighs_nothing_however_the_fusion_was_trained(
    kind: FusionKind,
) -> None:
    fusion = shuffled(fusion_of(kind))
    text, image = unit(4, 1), unit(4, 2)
    nothing = torch.zeros(4, dtype=torch.bool)

    textless = fusion(text, image, has_text=nothing, has_image=~nothing, tokens=tokens(4))
    imageless = fusion(text, image, has_text=~nothing, has_image=nothing, tokens=tokens(4))

    torch.testing.assert_close(textless, image)
    torch.testing.assert_close(imageless, text)


@pytest.mark.parametrize("kind", LEARNT)
def test_what_stands_in_for_a_missing_modality_never_shows(kind: FusionKind) -> None:
    fusion = shuffled(fusion_of(kind))
    has_text, has_image = torch.tensor([True, False]), torch.tensor([False, True])
    text, image = unit(2, 1), unit(2, 2)
    other_text, other_image = text.clone(), image.clone()
    other_text[1], other_image[0] = 9.0, -9.0
    seen = tokens(2)
    other = ProductTokens(seen.text.clone(), seen.text_mask, seen.image.clone())
    other.text[1], other.image[0] = 9.0, -9.0

    masks = {"has_text": has_text, "has_image": has_image}
    fused = fusion(text, image, **masks, tokens=seen)

    torch.testing.assert_close(fused, fusion(other_text, other_image, **masks, tokens=other))


@pytest.mark.parametrize("kind", list(FusionKind))
def test_the_weights_shown_to_people_are_shares_that_leave_out_what_is_missing(
    kind: FusionKind,
) -> None:
    has_text, has_image = torch.tensor([True, True, False]), torch.tensor([True, False, True])

    weights = shuffled(fusion_of(kind)).modality_weights(
        unit(3, 1), unit(3, 2), has_text=has_text, has_image=has_image, tokens=tokens(3)
    )

    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    if kind not in {FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY}:
        assert weights[1].tolist() == [1.0, 0.0]
        assert weights[2].tolist() == [0.0, 1.0]


@torch.no_grad()
def test_text_only_image_only_and_mean_are_what_their_names_say() -> None:
    text, image = unit(3, 1), unit(3, 2)

    torch.testing.assert_close(fusion_of(FusionKind.TEXT_ONLY)(text, image, **everything(3)), text)
    torch.testing.assert_close(
        fusion_of(FusionKind.IMAGE_ONLY)(text, image, **everything(3)), image
    )
    mean = fusion_of(FusionKind.MEAN)(text, image, **everything(3))
    for row in range(3):
        halves = (text[row] + image[row]) / 2
        torch.testing.assert_close(mean[row], halves / halves.norm())


@torch.no_grad()
def test_concat_is_a_linear_map_of_both_and_keeps_what_stands_alone() -> None:
    fusion = shuffled(Concat(12))
    text, image = unit(3, 1), unit(3, 2)
    has_text, has_image = torch.tensor([True, False, True]), torch.tensor([True, True, False])

    fused = fusion(text, image, has_text=has_text, has_image=has_image)

    mixed = fusion.mix.weight[:, :12] @ text[0] + fusion.mix.weight[:, 12:] @ image[0]
    torch.testing.assert_close(fused[0], mixed / mixed.norm())
    torch.testing.assert_close(fused[1], image[1])
    torch.testing.assert_close(fused[2], text[2])


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_blended_concat_lies_between_the_text_alone_and_what_it_learnt(share: float) -> None:
    fusion = shuffled(Concat(12))
    learnt, text, image = fusion.mix.weight.clone(), unit(3, 1), unit(3, 2)

    fusion.blend(learnt, share=share)

    for row in range(3):
        mixed = learnt[:, :12] @ text[row] + learnt[:, 12:] @ image[row]
        expected = (1 - share) * text[row] + share * mixed
        fused = fusion(text, image, **everything(3))[row]
        torch.testing.assert_close(fused, expected / expected.norm())


@torch.no_grad()
def test_the_gate_is_what_its_docstring_says() -> None:
    fusion = shuffled(Gate(12))
    text, image = unit(3, 1), unit(3, 2)

    fused = fusion(text, image, **everything(3))

    first, _, last = fusion.gate
    for row in range(3):
        t, v = text[row], image[row]
        hidden = F.gelu(first.weight @ torch.cat([t, v, t * v]) + first.bias)
        logits = last.weight @ hidden + last.bias
        g = logits.exp() / logits.exp().sum()
        mixed = g[0] * t + g[1] * v
        torch.testing.assert_close(fused[row], mixed / mixed.norm())


@torch.no_grad()
def test_the_bilinear_expert_is_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    fusion = BilinearExperts(12, rank=6)
    with torch.no_grad():
        fusion.bilinear_weight.fill_(0.7)
        torch.nn.init.normal_(fusion.gate[-1].weight)
        torch.nn.init.normal_(fusion.text_expert.turn.weight, std=0.5)
        torch.nn.init.normal_(fusion.image_expert.turn.weight, std=0.5)
    text, image = unit(2, 1), unit(2, 2)

    fused = fusion(text, image, **everything(2))

    for row in range(2):
        t, v = text[row], image[row]
        gate = (0.1 * fusion.gate(torch.cat([t, v, t * v]))).softmax(0)
        product = fusion.text_factor(t) * fusion.image_factor(v)
        rooted = torch.tensor([x.sign() * abs(x).sqrt() for x in product])
        b = F.normalize(fusion.bilinear_out(F.normalize(rooted, dim=0)), dim=0)
        from_text = F.normalize(fusion.text_expert.turn.weight @ t, dim=0)
        from_image = F.normalize(fusion.image_expert.turn.weight @ v, dim=0)
        expected = F.normalize(gate[0] * from_text + gate[1] * from_image + 0.7 * b, dim=0)
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
