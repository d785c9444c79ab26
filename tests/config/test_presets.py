"""The presets that ship with mmr are whole, and the docs tell of each."""

from pathlib import Path

import pytest

from mmr.config.model import MINILM
from mmr.config.run import load_settings, preset_names

DOCS = Path(__file__).parents[2] / "docs"
PAIRS = {
    "clip-vit-b32": ("openai/clip-vit-base-patch32", 512, 77),
    "siglip2-base": ("google/siglip2-base-patch16-224", 768, 64),
    "marqo-ecommerce-b": ("Marqo/marqo-ecommerce-embeddings-B", 768, 64),
}


def test_offline_presets_name_nothing_that_would_have_to_be_fetched() -> None:
    for name in set(preset_names()) - set(PAIRS):
        model = load_settings(name).model
        assert (model.text.backbone, model.vision.backbone) == (MINILM, "config"), name
    assert {"quick", "laptop"} <= set(preset_names())


@pytest.mark.parametrize("name", list(PAIRS))
def test_presets_of_pairs_start_aligned(name: str) -> None:
    checkpoint, common_space, longest = PAIRS[name]

    settings = load_settings(name)

    model = settings.model
    assert model.text.backbone == model.vision.backbone == checkpoint
    assert model.dim == common_space
    assert (model.text.pooling, model.vision.pooling) == ("checkpoint", "checkpoint")
    assert model.vision.preprocessing == "checkpoint"
    assert max(model.text.max_query_tokens, model.text.max_product_tokens) <= longest
    assert 0 < settings.vision.loop.backbone_learning_rate < settings.vision.loop.learning_rate


@pytest.mark.parametrize("name", preset_names())
def test_each_preset_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "backbones.md").read_text(encoding="utf-8")
