"""Colour histograms: which colours count, and where a head learns to look."""

import torch
from torch.nn import functional as F

from mmr.models.colour import ColourHistogram

GRID = torch.zeros(1, 2, 1, 1)


def test_two_bins_away_a_colour_gets_no_vote() -> None:
    histogram = ColourHistogram(4, heads=0, channels=2)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1.0

    shares = histogram(red, GRID).reshape(4, 4, 4)

    assert shares[3, 0, 0] == 1.0
    assert shares.count_nonzero() == 1


def test_the_white_studio_background_hardly_counts() -> None:
    picture = torch.ones(1, 3, 16, 16)
    picture[:, :, 4:12, 4:12] = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)  # a small blue product

    shares = ColourHistogram(4, heads=0, channels=2)(picture, GRID).square().reshape(4, 4, 4)

    assert shares[0, 0, 3] > 0.9
    assert shares[3, 3, 3] < 0.1


def test_heads_start_near_the_histogram_that_does_not_learn() -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 32, 24)
    fixed = ColourHistogram(3, heads=0, channels=2)(picture, GRID)

    heads = ColourHistogram(3, heads=2, channels=2)(picture, torch.randn(1, 2, 2, 2))

    assert F.cosine_similarity(fixed, heads[:, :27]) > 0.99
    assert F.cosine_similarity(fixed, heads[:, 27:]) > 0.99


def test_a_head_learns_to_look_at_the_part_that_tells() -> None:
    torch.manual_seed(0)
    pictures = torch.ones(8, 3, 16, 16)
    pictures[:, :, :8] = torch.rand(8, 3, 1, 1)  # any skirt
    blue = torch.arange(8) % 2 == 0
    pictures[:, :, 8:] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    pictures[blue, :, 8:] = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)  # the shirt that is asked
    grid = torch.zeros(8, 1, 2, 2)
    grid[:, :, 1] = 1.0  # the backbone tells lower from upper half
    histogram = ColourHistogram(2, heads=1, channels=1)
    optimizer = torch.optim.Adam(histogram.parameters(), lr=0.05)
    asked = torch.where(blue, 1, 4)  # bin of blue (0, 0, 1), bin of red (1, 0, 0)

    before = histogram(pictures, grid)[torch.arange(8), asked].mean()
    for _ in range(60):
        loss = -histogram(pictures, grid)[torch.arange(8), asked].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert before < 0.85
    assert -loss > 0.98
