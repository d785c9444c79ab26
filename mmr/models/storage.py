"""A retriever on disk: everything that decides a vector, and nothing else.

MODEL/encoder/architecture.json   sizes, pooling, preprocessing, fusion kind, format version
MODEL/encoder/weights.safetensors
MODEL/encoder/text/               configuration and tokenizer of the text backbone; an own query
                                  encoder has the same shape, and weights of its own
MODEL/encoder/vision/             configuration of the vision backbone, if there is one
MODEL/training.json               where it comes from; it decides no vector
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmr.atomic import write_json
from mmr.config.model import FusionKind, ModelSettings
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.models.fusion import new_fusion
from mmr.models.retriever import Retriever, token_channels
from mmr.models.text import save_text_shape, stored_text_encoder
from mmr.models.vision import save_image_shape, stored_image_encoder
from mmr.models.words import WordTable

# 2: word vectors; 3: experts of each modality, image-only head; 4: axes; 5: a concatenation keeps
# the embedding of a product's only modality
FORMAT_VERSION = 5
_READABLE = (3, 4, FORMAT_VERSION)
_OLDEST_CONCAT = 5
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # as safetensors tells of it


def save_retriever(retriever: Retriever, model: Path, *, training: dict[str, Any]) -> None:
    """Writes a retriever into an existing, empty directory.

    Args:
        retriever: What to store.
        model: The directory, usually the scratch one of `mmr.atomic.new_directory`.
        training: Where it comes from: settings, history, dataset, parents.
    """
    encoder = model / "encoder"
    (encoder / "text").mkdir(parents=True)
    save_text_shape(retriever.text_encoder, encoder / "text")
    if retriever.image_encoder is not None:
        (encoder / "vision").mkdir()
        save_image_shape(retriever.image_encoder, encoder / "vision")
    tensors = {name: value.contiguous() for name, value in retriever.state_dict().items()}
    _save_tensors(tensors, encoder / "weights.safetensors")
    write_json(
        encoder / "architecture.json",
        {
            "format_version": FORMAT_VERSION,
            "axes": retriever.axes is not None,
            "fusion": retriever.kind.value,
            "image_only_head": retriever.image_only_head is not None,
            "model": retriever.settings.model_dump(mode="json"),
            "words": retriever.words.pieces if retriever.words is not None else None,
        },
    )
    write_json(model / "training.json", training)


def stored_settings(model: Path) -> ModelSettings:
    """The settings that a stored retriever was built with.

    Raises:
        ArtifactError: `model` is no model directory, or one of another format.
        CorruptArtifactError: Its file is damaged.
    """
    return _read_architecture(model / "encoder" / "architecture.json").settings


def _save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Writes tensors; what the system refuses is an `OSError`, as of every other writer.

    Raises:
        OSError: No space, no right to write, and the like.
    """
    try:
        save_file(tensors, file)
    except SafetensorError as error:
        refused = _SYSTEM_ERROR.search(str(error))
        if refused is None:
            raise
        number = int(refused[1])
        raise OSError(number, os.strerror(number), str(file)) from error


def load_retriever(model: Path) -> Retriever:
    """Reads a retriever, ready for inference on the CPU.

    Raises:
        ArtifactError: `model` is no model directory, or one of another format.
        CorruptArtifactError: Its files are damaged.
    """
    encoder = model / "encoder"
    parts = _read_architecture(encoder / "architecture.json")
    settings, pieces = parts.settings, parts.word_pieces
    vision = encoder / "vision"
    text_encoder = stored_text_encoder(encoder / "text", settings.text)
    image_encoder = stored_image_encoder(vision, settings.vision) if vision.is_dir() else None
    retriever = Retriever(
        settings,
        text_encoder=text_encoder,
        own_query_encoder=(
            stored_text_encoder(encoder / "text", settings.text)
            if settings.text.own_query_encoder
            else None
        ),
        image_encoder=image_encoder,
        fusion=new_fusion(parts.fusion, settings, token_channels(text_encoder, image_encoder)),
        kind=parts.fusion,
        words=(
            None
            if pieces is None
            else WordTable(vocabulary=len(text_encoder.tokenizer), pieces=pieces, dim=settings.dim)
        ),
    )
    if parts.image_only_head:
        retriever.with_image_only_head()
    if parts.axes:
        retriever.axes = torch.eye(settings.dim)
    weights = encoder / "weights.safetensors"
    try:
        retriever.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CorruptArtifactError(
            f"{weights} is damaged or does not belong to this model ({error}). Train again."
        ) from error
    return retriever.eval()


@dataclass(frozen=True)
class _Architecture:
    """What parts a stored retriever has."""

    fusion: FusionKind
    settings: ModelSettings
    word_pieces: int | None
    image_only_head: bool
    axes: bool


def _read_architecture(file: Path) -> _Architecture:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{file.parent.parent} is not a model directory: {file} is missing."
        ) from error
    except ValueError as error:
        raise CorruptArtifactError(f"{file} is damaged ({error}). Train again.") from error
    version = stored.get("format_version")
    is_concat = stored.get("fusion") == FusionKind.CONCAT
    if version not in _READABLE or (is_concat and version < _OLDEST_CONCAT):
        oldest = _OLDEST_CONCAT if is_concat else _READABLE[0]
        raise ArtifactError(
            f"{file} has format {version}, but of fusion {stored.get('fusion')} this mmr reads "
            f"formats {oldest} to {FORMAT_VERSION}. Train again with this mmr, or use "
            "the one that wrote it."
        )
    try:
        return _Architecture(
            fusion=FusionKind(stored["fusion"]),
            settings=ModelSettings.model_validate(stored["model"]),
            word_pieces=stored["words"],
            image_only_head=stored["image_only_head"],
            axes=stored.get("axes", False),  # format 3 has none
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise CorruptArtifactError(f"{file} is damaged ({error}). Train again.") from error
