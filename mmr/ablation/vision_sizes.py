"""Which larger image network stands beside the one that the settings name."""

from __future__ import annotations

from typing import Any

from mmr.config.model import VisionSettings
from mmr.errors import ConfigError

# Published siblings: a hub name to the next size, with the photographs it wants.
_SIBLINGS: dict[str, tuple[str, int]] = {
    "openai/clip-vit-base-patch32": ("openai/clip-vit-large-patch14", 224),
    "google/siglip2-base-patch16-224": ("google/siglip2-large-patch16-256", 256),
    "google/vit-base-patch16-224-in21k": ("google/vit-large-patch16-224-in21k", 224),
    "Marqo/marqo-ecommerce-embeddings-B": ("Marqo/marqo-ecommerce-embeddings-L", 256),
}
_WIDER = ("hidden_sizes", "hidden_size", "embedding_size", "intermediate_size")


def larger_vision(vision: VisionSettings) -> dict[str, Any]:
    """Overrides that name a larger image network than `vision`'s.

    A network built from a configuration gets channels of twice the width, thus about four times
    the parameters; one with a hub name gets the next published size.

    Raises:
        ConfigError: No larger network is known for this one.
    """
    if vision.backbone == "config":
        wider = {
            name: [2 * size for size in value] if isinstance(value, list) else 2 * value
            for name, value in vision.architecture.items()
            if name in _WIDER
        }
        if not wider:
            raise ConfigError(
                f"model.vision.architecture has none of {', '.join(_WIDER)} to be widened."
            )
        return {"model.vision.architecture": {**vision.architecture, **wider}}
    if vision.backbone in _SIBLINGS:
        name, side = _SIBLINGS[vision.backbone]
        return {
            "model.vision.backbone": name,
            "model.vision.height": side,
            "model.vision.width": side,
        }
    raise ConfigError(
        f"no larger sibling of {vision.backbone} is known, only of {', '.join(_SIBLINGS)} and of "
        "networks built from `config`."
    )
