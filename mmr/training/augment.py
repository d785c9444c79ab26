"""Image augmentation that respects colour: geometry and light, never hue."""

import torch
from torch import Tensor
from torch.nn import functional as F

_SHIFT = 0.08  # of the image's side
_ZOOM = 0.15
_LIGHT = 0.08


def augmented(pixels: Tensor) -> Tensor:
    """Mirrors, shifts, zooms and slightly lights or darkens photographs.

    Colour is what the image has to tell, so no channel is treated apart from the others.

    Args:
        pixels: `(batch, 3, height, width)` uint8.

    Returns:
        The same shape and type; uncovered edges are white as the studio background.
    """
    batch = len(pixels)
    inverted = 1 - pixels.float() / 255  # padding with zeros is then white
    zoom = 1 + _ZOOM * (2 * torch.rand(batch, device=pixels.device) - 1)
    mirror = 1 - 2 * (torch.rand(batch, device=pixels.device) < 0.5).float()
    shift = _SHIFT * (2 * torch.rand(batch, 2, device=pixels.device) - 1)
    affine = torch.zeros(batch, 2, 3, device=pixels.device)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = zoom * mirror, zoom, 2 * shift
    grid = F.affine_grid(affine, list(pixels.shape), align_corners=False)
    moved = 1 - F.grid_sample(inverted, grid, mode="bilinear", align_corners=False)
    light = 1 + _LIGHT * (2 * torch.rand(batch, 1, 1, 1, device=pixels.device) - 1)
    return (moved * light * 255).clamp(0, 255).to(torch.uint8)
