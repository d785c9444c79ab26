"""Sizes of an image and a text tower, and the FLOPs that a sample needs in them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tower:
    """A transformer encoder: its layers, width, and tokens in a sample."""

    layers: int
    width: int
    tokens: int

    def forward_flops(self) -> int:
        """Of one sample: projections (8 T W^2), MLP (16 T W^2), attention (4 T^2 W), per layer."""
        per_token = 24 * self.tokens * self.width**2
        return self.layers * (per_token + 4 * self.tokens**2 * self.width)


@dataclass(frozen=True)
class Size:
    """An image and a text tower, and open_clip's name for the pair."""

    image: Tower
    text: Tower
    pixels: int
    patch: int
    vocabulary: int
    dim: int
    open_clip: str | None

    def stem_flops(self) -> int:
        """Of cutting one image into patches, each projected."""
        patches = (self.pixels // self.patch) ** 2
        return 2 * patches * 3 * self.patch**2 * self.image.width

    def forward_flops(self) -> int:
        """Of one sample through both towers."""
        projections = 2 * self.dim * (self.image.width + self.text.width)
        towers = self.image.forward_flops() + self.text.forward_flops()
        return towers + self.stem_flops() + projections

    def step_flops(self) -> int:
        """Of one sample in training: backward costs twice forward, but pixels want no gradient."""
        return 3 * self.forward_flops() - self.stem_flops()


SIZES = {
    "vit-b-32": Size(
        Tower(12, 768, 50), Tower(12, 512, 77), 224, 32, 49_408, 512, open_clip="ViT-B-32"
    ),
    "vit-b-16": Size(
        Tower(12, 768, 197), Tower(12, 512, 77), 224, 16, 49_408, 512, open_clip="ViT-B-16"
    ),
    "tiny": Size(Tower(2, 64, 5), Tower(2, 64, 16), 64, 32, 1000, 32, open_clip=None),
}
