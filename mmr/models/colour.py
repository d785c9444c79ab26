"""Colour, handed over whole: what a photograph adds to a sparse text most of all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 4  # pixels a side that vote together
_FLOOR = 1e-4  # under the square root, where its slope would be endless


class ColourHistogram(nn.Module):
    """Soft colour histograms of an image: the colour words of a shop, made visible.

    Small networks pool colour away among shapes; a histogram hands it over whole. Cells of a few
    pixels vote for their nearest bins by a triangular kernel in each channel. Without heads every
    cell counts by how far it is from white, the usual studio background. Each head starts there and
    learns where to look instead, from the cell's neighbourhood and from what the backbone saw: the
    dress and not the skin, the dial and not the strap.

        h_k = sqrt(sum over cells c of softmax_c(log foreground_c + near_k(c) + far_k(c)) vote_c)

    Args:
        bins: Bins of each of the three channels.
        heads: Histograms that learn where to look; 0 gives one that does not.
        channels: Of the backbone's grid.

    Shape:
        - shares: `(batch, 3, height, width)`, values in [0, 1].
        - grid: `(batch, channels, rows, columns)`, the backbone's states.
        - output: `(batch, max(1, heads) * bins ** 3)`; each histogram's squares sum to about 1.

    Source: colour histograms (Swain and Ballard 1991, Color Indexing) pooled by attention; the
    combination is our own.
    """

    centres: Tensor

    def __init__(self, bins: int, *, heads: int, channels: int) -> None:
        super().__init__()
        self.bins, self.heads = bins, heads
        self.channels = max(1, heads) * bins**3
        self.register_buffer("centres", torch.linspace(0, 1, bins), persistent=False)
        self.near = self.far = None
        if heads:
            last = nn.Conv2d(16, heads, 3, padding=1)
            self.near = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GELU(), last)
            self.far = nn.Conv2d(channels, heads, 1)
            for layer in (last, self.far):  # not 0, or all heads would learn the same
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, shares: Tensor, grid: Tensor) -> Tensor:
        cells = F.avg_pool2d(shares.float(), CELL)  # (batch, 3, rows, columns)
        foreground = (1 - cells.amin(1, keepdim=True)).clamp(min=0.02)
        weights = foreground
        if self.near is not None and self.far is not None:
            looked = F.interpolate(
                self.far(grid).float(), size=cells.shape[-2:], mode="bilinear", align_corners=False
            )
            logits = self.near(cells).float() + looked + foreground.log()
            weights = logits.flatten(2).softmax(-1).view_as(logits)
        counts = self._counts(cells.flatten(2), weights.flatten(2))
        if not self.heads:
            return (counts / counts.sum(1, keepdim=True)).sqrt()
        return (counts + _FLOOR).sqrt()

    def _counts(self, cells: Tensor, weights: Tensor) -> Tensor:
        """`(batch, heads * bins ** 3)` votes of `(batch, 3, n)`, weighed by `(batch, heads, n)`."""
        distance = (cells.unsqueeze(-1) - self.centres).abs() * (self.bins - 1)
        red, green, blue = (1 - distance).clamp(min=0).unbind(1)  # each (batch, n, bins)
        pairs = (red.unsqueeze(-1) * green.unsqueeze(-2)).flatten(2)  # (batch, n, bins ** 2)
        return torch.cat(
            [(pairs.mT @ (blue * weight.unsqueeze(-1))).flatten(1) for weight in weights.unbind(1)],
            dim=1,
        )
