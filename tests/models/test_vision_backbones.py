"""Vision backbones from tiny checkpoints: pooling, preprocessing, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from mmr.config.model import VisionSettings
from mmr.data.framing import Framing
from mmr.errors import ConfigError
from mmr.models.vision import ImageEncoder, new_image_encoder
from tests.models import checkpoints
from tests.models.checkpoints import SIZE
from tests.models.pairs import (
    as_stages_read,
    pictures,
)


@torch.no_grad()
def test_vit_gives_its_class_token_and_convnext_its_own_pooling(tmp_path: Path) -> None:
    for location in (checkpoints.vit(tmp_path / "vit"), checkpoints.convnext(tmp_path / "cnn")):
        encoder = new_image_encoder(VisionSettings(backbone=str(location), colour_bins=0)).eval()
        processor = AutoImageProcessor.from_pretrained(location, backend="pil")
        square = pictures(SIZE, SIZE)  # ConvNeXt's own processor cuts at this size; we do not
        shares = as_stages_read(square, encoder.settings) / 255
        mean, std = (
            torch.tensor(x).view(3, 1, 1) for x in (processor.image_mean, processor.image_std)
        )
        output = AutoModel.from_pretrained(location).eval()(pixel_values=(shares - mean) / std)
        vit = location.name == "vit"
        pooled = output.last_hidden_state[:, 0] if vit else output.pooler_output

        features = encoder(as_stages_read(square, encoder.settings))

        torch.testing.assert_close(features, F.layer_norm(pooled, (16,)), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_cells_are_the_grid_without_the_class_token(tmp_path: Path) -> None:
    location = checkpoints.clip(tmp_path / "clip")
    encoder = new_image_encoder(VisionSettings(backbone=str(location))).eval()
    pixels = as_stages_read(pictures(), encoder.settings)
    states = encoder._run(pixels / 255).last_hidden_state  # class token and 4 x 4 patches

    cells = encoder.cell_states(pixels, side=2)

    assert cells.shape == (3, 4, 24)
    top_right = torch.stack(
        [states[:, 1 + row * 4 + column] for row in (0, 1) for column in (2, 3)]
    )
    torch.testing.assert_close(cells[:, 1], top_right.mean(0))


def test_preprocessing_follows_the_checkpoint_but_keeps_the_whole_product(tmp_path: Path) -> None:
    def resolved(location: Path) -> VisionSettings:
        return new_image_encoder(VisionSettings(backbone=str(location))).settings

    clip = resolved(checkpoints.clip(tmp_path / "clip"))
    siglip = resolved(checkpoints.siglip(tmp_path / "siglip"))
    cnn = resolved(checkpoints.convnext(tmp_path / "cnn"))

    assert (clip.fit, clip.resample, clip.height, clip.width) == ("pad", "bicubic", SIZE, SIZE)
    assert clip.mean[0] == pytest.approx(0.48145466)
    assert (siglip.fit, siglip.mean) == ("stretch", (0.5, 0.5, 0.5))
    assert (cnn.fit, cnn.height) == ("pad", SIZE)


def test_older_descriptions_of_preprocessing_are_read_too(tmp_path: Path) -> None:
    location = checkpoints.vit(tmp_path / "vit")
    described = location / "preprocessor_config.json"
    content = {"size": SIZE, "resample": 2, "do_normalize": False, "do_resize": True}
    described.write_text(json.dumps(content))

    settings = new_image_encoder(VisionSettings(backbone=str(location))).settings

    assert (settings.height, settings.width, settings.fit) == (SIZE, SIZE, "stretch")
    assert (settings.mean, settings.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_openais_description_of_clip_is_read(tmp_path: Path) -> None:
    location = checkpoints.clip(tmp_path / "clip")
    described = location / "preprocessor_config.json"
    content = {
        "crop_size": SIZE,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": SIZE,
    }
    described.write_text(json.dumps(content))

    settings = new_image_encoder(VisionSettings(backbone=str(location))).settings

    assert (settings.height, settings.fit, settings.resample) == (SIZE, "pad", "bicubic")


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_framing_keeps_what_it_promises(fit: Any) -> None:
    tall = Image.new("RGB", (10, 30), (255, 0, 0))
    tall.paste((0, 0, 255), (0, 0, 10, 5))  # a blue hat on a red figure

    framed = np.asarray(Framing(fit).apply(tall, height=12, width=12)).astype(int)

    blue = (framed[..., 2] > 200) & (framed[..., 0] < 60)
    white = (framed > 250).all(-1)
    assert framed.shape == (12, 12, 3)
    assert blue.any() == (fit != "crop")
    assert white[:, 0].all() == (fit == "pad")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda home: (home / "model.safetensors").write_bytes(b"not weights"), "cannot be loaded"),
        (lambda home: (home / "config.json").unlink(), "cannot be loaded"),
        (lambda home: (home / "preprocessor_config.json").unlink(), "preprocessing"),
        (lambda home: _resample_by(home, 0), "Pillow's method 0"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_with_the_cure(
    damage: Callable[[Path], Any], words: str, tmp_path: Path
) -> None:
    home = checkpoints.siglip(tmp_path / "siglip")
    damage(home)

    with pytest.raises(ConfigError, match=words):
        new_image_encoder(VisionSettings(backbone=str(home)))


def _resample_by(home: Path, method: int) -> None:
    described = home / "preprocessor_config.json"
    content = json.loads(described.read_text())
    described.write_text(json.dumps({**content, "resample": method}))


def test_a_checkpoint_without_all_weights_is_refused_not_filled_with_random_ones(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    home = checkpoints.vit(tmp_path / "vit")
    weights = load_file(home / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, home / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ConfigError, match=r"lacks 1 weights.*layernorm\.weight"):
        new_image_encoder(VisionSettings(backbone=str(home)))


def test_siglip_2_with_changing_sizes_is_refused_by_name(tmp_path: Path) -> None:
    from transformers import Siglip2Config, Siglip2Model

    half = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Siglip2Config(
        text_config={**half, "intermediate_size": 32, "vocab_size": 20, "projection_size": 16},
        vision_config={**half, "intermediate_size": 32, "num_patches": 16, "patch_size": 4},
    )
    Siglip2Model(config).save_pretrained(tmp_path / "naflex")
    shutil.copy(
        checkpoints.siglip(tmp_path / "siglip") / "preprocessor_config.json", tmp_path / "naflex"
    )

    with pytest.raises(ConfigError, match="siglip2-base-patch16-224"):
        new_image_encoder(VisionSettings(backbone=str(tmp_path / "naflex")))


def test_a_network_from_a_configuration_follows_the_settings() -> None:
    encoder = new_image_encoder(VisionSettings(height=40, width=24))

    assert isinstance(encoder, ImageEncoder)
    assert (encoder.settings.height, encoder.settings.width) == (40, 24)
    assert (encoder.settings.fit, encoder.settings.pooling) == ("pad", "mean")
    with pytest.raises(ConfigError, match=r"model\.vision\.architecture"):
        new_image_encoder(VisionSettings(architecture={"model_type": "nothing"}))


def test_no_random_pooler_gets_into_a_fingerprint(tmp_path: Path) -> None:
    location = checkpoints.vit(tmp_path / "vit")

    names = new_image_encoder(VisionSettings(backbone=str(location))).state_dict()

    assert AutoConfig.from_pretrained(location).model_type == "vit"
    assert not [name for name in names if "pooler" in name]
