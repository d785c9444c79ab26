import shutil
from pathlib import Path

import pytest

from mmr.errors import ArtifactError
from mmr.release.fingerprint import encoder_fingerprint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "encoder" / "text").mkdir(parents=True)
    (model / "encoder" / "weights.safetensors").write_bytes(b"weights")
    (model / "encoder" / "text" / "config.json").write_text("{}")
    (model / "training.json").write_text("{}")
    return model


def test_renaming_moving_and_copying_keep_the_fingerprint(model: Path, tmp_path: Path) -> None:
    before = encoder_fingerprint(model)
    copied = shutil.copytree(model, tmp_path / "far" / "away")
    moved = model.rename(tmp_path / "renamed")
    assert encoder_fingerprint(copied) == encoder_fingerprint(moved) == before


def test_what_lies_beside_the_encoder_does_not_count(model: Path) -> None:
    before = encoder_fingerprint(model)
    (model / "training.json").write_text('{"history": []}')
    (model / "notes.txt").write_text("good one")
    assert encoder_fingerprint(model) == before


@pytest.mark.parametrize("change", ["weights", "settings", "new file", "renamed file"])
def test_whatever_decides_a_vector_changes_it(change: str, model: Path) -> None:
    before = encoder_fingerprint(model)
    encoder = model / "encoder"
    if change == "weights":
        (encoder / "weights.safetensors").write_bytes(b"weightt")
    elif change == "settings":
        (encoder / "text" / "config.json").write_text('{"pooling": "cls"}')
    elif change == "new file":
        (encoder / "tokenizer.json").write_text("{}")
    else:
        (encoder / "text" / "config.json").rename(encoder / "config.json")
    assert encoder_fingerprint(model) != before


def test_a_directory_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a model"):
        encoder_fingerprint(tmp_path)
