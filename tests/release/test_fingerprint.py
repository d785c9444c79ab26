import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmr.config.model import ModelSettings, TextSettings
from mmr.errors import ArtifactError
from mmr.models.retriever import new_text_retriever
from mmr.models.storage import save_retriever
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


@pytest.fixture
def architecture(model: Path) -> Path:
    """What a training stage writes, as far as settings go."""
    settings = ModelSettings(text=TextSettings(backbone="/here/checkpoint"))
    file = model / "encoder" / "architecture.json"
    file.write_text(json.dumps({"fusion": "gate", "model": settings.model_dump(mode="json")}))
    return file


@pytest.mark.parametrize(
    "changed",
    [
        {"text": {"pooling": "cls"}},
        {"text": {"query_prefix": "query: "}},
        {"text": {"product_prefix": "passage: "}},
        {"text": {"max_query_tokens": 31}},
        {"text": {"max_product_tokens": 63}},
        {"vision": {"height": 81}},
        {"vision": {"width": 81}},
        {"vision": {"mean": [0.4, 0.5, 0.5]}},
        {"vision": {"std": [0.4, 0.5, 0.5]}},
        {"vision": {"colour_bins": 5}},
        {"vision": {"architecture": {"model_type": "vit"}}},
        {"dim": 128},
        {"head_hidden": 512},
        {"bilinear_rank": 64},
    ],
)
def test_pooling_preprocessing_and_dimension_decide(
    changed: dict, model: Path, architecture: Path
) -> None:
    before = encoder_fingerprint(model)
    record = json.loads(architecture.read_text())
    for name, value in changed.items():
        part = record["model"]
        part[name] = {**part[name], **value} if isinstance(value, dict) else value
    architecture.write_text(json.dumps(record))
    assert encoder_fingerprint(model) != before


def leaves(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of every setting in a record."""
    if not isinstance(value, dict):
        yield place
    else:
        for name, inner in value.items():
            yield from leaves(inner, (*place, name))


RECORD = ModelSettings().model_dump(mode="json")
NAMES = {("text", "backbone"), ("vision", "backbone")}  # what they name is hashed as weights


@pytest.mark.parametrize("place", [p for p in leaves(RECORD) if p not in NAMES], ids=".".join)
def test_every_setting_of_the_model_decides(
    place: tuple[str, ...], model: Path, architecture: Path
) -> None:
    before = encoder_fingerprint(model)
    record = json.loads(architecture.read_text())
    part = record["model"]
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = f"not {part[place[-1]]}"
    architecture.write_text(json.dumps(record))
    assert encoder_fingerprint(model) != before


def test_one_weight_and_one_word_of_a_real_model_decide(tmp_path: Path) -> None:
    settings = ModelSettings(dim=8, head_hidden=8)
    torch.manual_seed(0)
    retriever = new_text_retriever(settings)
    (tmp_path / "model").mkdir()
    save_retriever(retriever, tmp_path / "model", training={})
    seen = {encoder_fingerprint(tmp_path / "model")}

    weights = tmp_path / "model/encoder/weights.safetensors"
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, weights)
    seen.add(encoder_fingerprint(tmp_path / "model"))

    tokenizer = tmp_path / "model/encoder/text/tokenizer.json"
    record = json.loads(tokenizer.read_text())
    record["model"]["vocab"]["wardrobe"] = 0
    tokenizer.write_text(json.dumps(record))
    seen.add(encoder_fingerprint(tmp_path / "model"))
    assert len(seen) == 3


def test_the_fusion_and_every_tokenizer_entry_decide(model: Path, architecture: Path) -> None:
    before = encoder_fingerprint(model)
    architecture.write_text(architecture.read_text().replace('"gate"', '"concat"'))
    fused = encoder_fingerprint(model)
    tokenizer = model / "encoder" / "text" / "tokenizer.json"
    seen = {before, fused}
    for vocabulary in ({"backbone": 7}, {"backbone": 8}, {"name_or_path": 8}):  # words like others
        tokenizer.write_text(json.dumps({"model": {"vocab": vocabulary}}))
        seen.add(encoder_fingerprint(model))
    assert len(seen) == 5


def test_renaming_or_moving_the_checkpoint_it_came_from_changes_nothing(
    model: Path, architecture: Path
) -> None:
    config = model / "encoder" / "text" / "config.json"
    tokenizer = model / "encoder" / "text" / "tokenizer_config.json"
    found = set()
    for place in ("/here/checkpoint", "/moved/renamed", "shop/minilm-tuned"):
        record = json.loads(architecture.read_text())
        record["model"]["text"]["backbone"] = record["model"]["vision"]["backbone"] = place
        architecture.write_text(json.dumps(record))
        config.write_text(json.dumps({"_name_or_path": place, "hidden_size": 8}))
        tokenizer.write_text(json.dumps({"name_or_path": place, "do_lower_case": True}))
        found.add(encoder_fingerprint(model))
    assert len(found) == 1
    tokenizer.write_text(json.dumps({"name_or_path": place, "do_lower_case": False}))
    assert encoder_fingerprint(model) not in found


@pytest.mark.parametrize("content", ["[]", "3", '{"model": 3}', "{", "\x00"])
def test_a_record_of_another_form_still_counts(content: str, model: Path) -> None:
    before = encoder_fingerprint(model)
    (model / "encoder" / "architecture.json").write_text(content)
    assert encoder_fingerprint(model) != before


def test_a_directory_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a model"):
        encoder_fingerprint(tmp_path)
