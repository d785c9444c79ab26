from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmr.training.encoding import part_count
from mmr.training.grad_cache import encoded_in_parts


class Encoder(nn.Module):
    """Convolution, a norm, dropout: what an image network is made of."""

    def __init__(self, norm: nn.Module, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(pixels).mean((2, 3)), dim=-1)


def in_batch_loss(embeddings: Tensor) -> Tensor:
    """Every row against all others: it cannot be taken part by part."""
    scores = 10 * embeddings @ embeddings.T
    return nn.functional.cross_entropy(scores, torch.arange(len(scores)).roll(1))


def gradients(
    encoder: Encoder, encode: Callable[[Tensor], Tensor], pixels: Tensor
) -> tuple[float, list[Tensor]]:
    encoder.zero_grad()
    torch.manual_seed(3)
    loss = in_batch_loss(encode(pixels))
    loss.backward()
    found = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient is not None for gradient in found)
    return loss.item(), [gradient.clone() for gradient in found if gradient is not None]


@pytest.mark.parametrize("parts", [1, 2, 3, 11])
def test_gradients_equal_those_of_one_pass(parts: int) -> None:
    torch.manual_seed(0)
    encoder, pixels = Encoder(nn.GroupNorm(2, 8)), torch.randn(11, 3, 9, 9)

    loss, whole = gradients(encoder, encoder, pixels)
    in_parts, found = gradients(
        encoder, lambda x: encoded_in_parts(encoder, x, parts=parts, model=encoder), pixels
    )

    assert in_parts == pytest.approx(loss, rel=1e-5)
    for one, other in zip(whole, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_dropout_and_batch_norm_do_in_the_second_pass_what_they_did_in_the_first() -> None:
    torch.manual_seed(0)
    encoder, pixels = Encoder(nn.BatchNorm2d(8), dropout=0.4), torch.randn(12, 3, 9, 9)
    plain = Encoder(nn.BatchNorm2d(8), dropout=0.4)
    plain.load_state_dict(encoder.state_dict())

    def one_pass(inputs: Tensor) -> Tensor:
        return torch.cat([plain(part) for part in inputs.split(4)])

    loss, whole = gradients(plain, one_pass, pixels)
    in_parts, parts = gradients(
        encoder, lambda x: encoded_in_parts(encoder, x, parts=3, model=encoder), pixels
    )

    assert in_parts == loss
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name  # statistics counted once


def test_nothing_but_embeddings_waits_for_the_way_back() -> None:
    torch.manual_seed(0)
    encoder = Encoder(nn.GroupNorm(2, 8))

    def kept_bytes(rows: int, *, in_parts: bool) -> int:
        total = 0

        def count(value: Tensor) -> Tensor:
            nonlocal total
            total += value.numel() * value.element_size()
            return value

        pixels = torch.randn(rows, 3, 32, 32)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            if in_parts:
                encoded_in_parts(encoder, pixels, parts=8, model=encoder)
            else:
                encoder(pixels)
        return total

    pixels = 32 * 3 * 32 * 32 * 4  # bytes
    assert kept_bytes(32, in_parts=True) <= pixels
    assert kept_bytes(32, in_parts=False) > 2 * pixels


@pytest.mark.parametrize(
    ("rows", "at_once", "expected"),
    [(256, 0, 1), (256, 256, 1), (256, 100, 3), (5, 1, 5), (1, 9, 1)],
)
def test_parts_are_as_many_as_their_size_asks_for(rows: int, at_once: int, expected: int) -> None:
    assert part_count(rows, at_once=at_once) == expected
