"""Cross-attention against the slow obvious way, product by product and head by head."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.config.model import CrossAttentionSettings
from mmr.models.cross_attention import CrossAttention
from mmr.models.fusion_base import ProductTokens, TokenChannels

HEADS, WIDTH, DIM = 2, 8, 12


def trained() -> CrossAttention:
    torch.manual_seed(0)
    fusion = CrossAttention(
        DIM,
        settings=CrossAttentionSettings(text_tokens=5, image_cells=2, width=WIDTH, heads=HEADS),
        channels=TokenChannels(text=6, image=10),
    )
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.5)
    return fusion.eval()


def inputs(lengths: list[int]) -> tuple[Tensor, Tensor, ProductTokens]:
    torch.manual_seed(1)
    rows = len(lengths)
    mask = torch.arange(5).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)
    tokens = ProductTokens(torch.randn(rows, 5, 6), mask, torch.randn(rows, 4, 10))
    return (
        F.normalize(torch.randn(rows, DIM), dim=-1),
        F.normalize(torch.randn(rows, DIM), dim=-1),
        tokens,
    )


def slow_attention(block: nn.MultiheadAttention, queries: Tensor, values: Tensor) -> Tensor:
    """One product: `(queries, width)` reads `(values, width)`, in loops."""
    weight, bias = block.in_proj_weight, block.in_proj_bias
    size = WIDTH // HEADS
    answers = []
    for query in queries:
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            q = (weight[:WIDTH] @ query + bias[:WIDTH])[part]
            k = [(weight[WIDTH : 2 * WIDTH] @ v + bias[WIDTH : 2 * WIDTH])[part] for v in values]
            u = [(weight[2 * WIDTH :] @ v + bias[2 * WIDTH :])[part] for v in values]
            scores = torch.stack([q @ key / size**0.5 for key in k])
            shares = scores.exp() / scores.exp().sum()
            heads.append(sum(share * value for share, value in zip(shares, u, strict=True)))
        answers.append(block.out_proj.weight @ torch.cat(heads) + block.out_proj.bias)
    return torch.stack(answers)


@torch.no_grad()
def test_cross_attention_is_what_its_docstring_says() -> None:
    fusion, lengths = trained(), [5, 1, 3]
    text, image, tokens = inputs(lengths)
    everything = torch.ones(3, dtype=torch.bool)

    fused = fusion(text, image, has_text=everything, has_image=everything, tokens=tokens)
    weights = fusion.modality_weights(
        text, image, has_text=everything, has_image=everything, tokens=tokens
    )

    for row, length in enumerate(lengths):
        words = torch.stack([fusion.text_in(token) for token in tokens.text[row, :length]])
        cells = torch.stack([fusion.image_in(cell) for cell in tokens.image[row]]) + fusion.place
        seen = slow_attention(fusion.text_reads_image, words, cells).mean(0)
        named = slow_attention(fusion.image_reads_text, cells, words).mean(0)
        evidence = torch.cat([seen, named])
        logits = fusion.weigh(evidence)
        w = logits.exp() / logits.exp().sum()
        mixed = w[0] * text[row] + w[1] * image[row] + fusion.out.weight @ evidence
        torch.testing.assert_close(weights[row], w)
        torch.testing.assert_close(fused[row], mixed / mixed.norm())


@torch.no_grad()
def test_padding_behind_a_short_text_is_never_read() -> None:
    fusion = trained()
    text, image, tokens = inputs([2, 4])
    everything = {"has_text": torch.ones(2).bool(), "has_image": torch.ones(2).bool()}
    fused = fusion(text, image, **everything, tokens=tokens)

    tokens.text[0, 2:], tokens.text[1, 4:] = 7.0, -7.0

    torch.testing.assert_close(fused, fusion(text, image, **everything, tokens=tokens))


def test_at_the_start_a_product_without_image_has_exactly_its_text_embedding() -> None:
    torch.manual_seed(0)
    fusion = CrossAttention(
        DIM,
        settings=CrossAttentionSettings(text_tokens=5, image_cells=2, width=WIDTH, heads=HEADS),
        channels=TokenChannels(text=6, image=10),
    )
    text, image, tokens = inputs([5, 2, 3])
    has_image = torch.tensor([False, True, False])

    fused = fusion(text, image, has_text=torch.ones(3).bool(), has_image=has_image, tokens=tokens)

    assert torch.equal(fused[[0, 2]], F.normalize(text[[0, 2]], dim=-1))
    torch.testing.assert_close(fused[1], F.normalize(text[1] + image[1], dim=-1))


def test_every_parameter_learns_from_a_product_with_both() -> None:
    fusion = trained()
    text, image, tokens = inputs([5, 2])
    both = torch.ones(2).bool()

    fusion(text, image, has_text=both, has_image=both, tokens=tokens)[:, 0].sum().backward()

    assert all(parameter.grad is not None for parameter in fusion.parameters())


def test_without_tokens_it_says_so_instead_of_guessing() -> None:
    text, image, _ = inputs([2])
    with pytest.raises(RuntimeError, match="tokens"):
        trained()(text, image, has_text=torch.ones(1).bool(), has_image=torch.ones(1).bool())


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="multiple of heads"):
        CrossAttentionSettings(width=10, heads=4)
