"""How a checkpoint wants its images, read from the file that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmr.config.model import VisionSettings
from mmr.errors import ConfigError
from mmr.models.backbones import checkpoint_json, open_clip_description

_RESAMPLE = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def with_checkpoint_preprocessing(settings: VisionSettings) -> VisionSettings:
    """Settings with size, fit, resampling, mean and std as the checkpoint was trained.

    One thing is changed: a checkpoint that cuts its images to a square (CLIP) gets them whole, with
    white margins. Of a tall product a square cut shows the middle only, and shoppers ask for hems,
    handles and legs; product photographs are white around the product anyway, and square ones are
    the same either way. `fit: crop` with `preprocessing: settings` gives the cut.

    Raises:
        ConfigError: The checkpoint does not say.
    """
    if settings.backbone == "config" or settings.preprocessing == "settings":
        return settings.model_copy(update={"preprocessing": "settings"})
    location = settings.backbone
    described = open_clip_description(location)
    if described is not None:
        found = _of_open_clip(described)
    else:
        content = checkpoint_json(location, "preprocessor_config.json")
        if content is None:
            content = (checkpoint_json(location, "processor_config.json") or {}).get(
                "image_processor"
            )
        if content is None:
            raise ConfigError(
                f"{location} has no preprocessor_config.json, so the size and colours that it "
                "wants are unknown. Set model.vision.preprocessing to `settings`, and height, "
                "width, mean, std beside it."
            )
        found = _of_transformers(content, location)
    return VisionSettings.model_validate(
        {**settings.model_dump(), **found, "preprocessing": "settings"}
    )


def _of_transformers(content: Mapping[str, Any], location: str) -> dict[str, Any]:
    size, resample = content.get("size", 224), content.get("resample", 2)
    cut = bool(content.get("do_center_crop"))
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if cut:
        size = content.get("crop_size", size)
    elif edge is not None:
        cut = edge < 384  # ConvNeXt: cut to a square, but squeezed at 384 pixels and above
        size = edge
    height, width = (size["height"], size["width"]) if isinstance(size, Mapping) else (size, size)
    if resample not in _RESAMPLE:
        raise ConfigError(
            f"{location} resamples by Pillow's method {resample}, which mmr does not offer. Set "
            "model.vision.preprocessing to `settings`."
        )
    normalised = content.get("do_normalize", True)
    return {
        "height": height,
        "width": width,
        "fit": "pad" if cut else "stretch",
        "resample": _RESAMPLE[resample],
        "mean": tuple(content["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        "std": tuple(content["image_std"]) if normalised else (1.0, 1.0, 1.0),
    }


def _of_open_clip(described: Mapping[str, Any]) -> dict[str, Any]:
    wanted = described.get("preprocess_cfg", {})
    size = described["model_cfg"]["vision_cfg"]["image_size"]
    return {
        "height": size,
        "width": size,
        "fit": "stretch" if wanted.get("resize_mode") == "squash" else "pad",
        "resample": wanted.get("interpolation", "bicubic"),
        "mean": tuple(wanted.get("mean", (0.5, 0.5, 0.5))),
        "std": tuple(wanted.get("std", (0.5, 0.5, 0.5))),
    }
