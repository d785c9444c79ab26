"""How images lie in memory while a vision network reads them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmr.config.model import VisionSettings
from mmr.models.vision import ImageEncoder, new_image_encoder


def encoder_of_width(channels: int) -> ImageEncoder:
    architecture = {
        "model_type": "resnet",
        "embedding_size": channels,
        "hidden_sizes": [channels, 2 * channels],
        "depths": [1, 1],
        "layer_type": "basic",
    }
    return new_image_encoder(VisionSettings(architecture=architecture, height=32, width=64))


@pytest.mark.parametrize(("channels", "channels_last"), [(8, False), (16, True)])
def test_channels_lie_last_unless_the_network_is_too_narrow_for_it(
    channels: int, channels_last: bool
) -> None:
    """Fewer than 16 channels before a strided 1 by 1 convolution: oneDNN writes out of bounds."""
    encoder = encoder_of_width(channels)
    seen: list[Tensor] = []
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1:
            layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
            seen.append(layer.weight)

    encoder(torch.randint(0, 256, (4, 3, 32, 64), dtype=torch.uint8))

    assert len(seen) == 2
    images = seen[1]
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert images.is_contiguous() != channels_last


def test_a_narrow_network_learns_from_wide_images_without_breaking_memory() -> None:
    """Ended the process on CPUs with AVX-512: “double free or corruption”."""
    encoder = encoder_of_width(8)
    for images in (36, 37) * 20:
        pixels = torch.randint(0, 256, (images, 3, 32, 64), dtype=torch.uint8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = encoder(pixels).float().square().mean()
        loss.backward()

    assert all(
        torch.isfinite(value.grad).all() for value in encoder.parameters() if value.grad is not None
    )
