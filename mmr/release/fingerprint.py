"""The identity of an encoder: the content of everything that decides a vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmr.errors import ArtifactError
from mmr.hashing import files_below, sha256_file, sha256_json

ENCODER_DIRECTORY = "encoder"
_MAX_RECORD_BYTES = 16 << 20
# Where pretrained weights once came from. The weights themselves are hashed, so a checkpoint may be
# renamed or moved, and the same one gives the same encoder.
_NAMES = {
    "architecture.json": (("model", "text", "backbone"), ("model", "vision", "backbone")),
    "config.json": (("_name_or_path",),),
    "tokenizer_config.json": (("name_or_path",),),
}


def encoder_fingerprint(model: Path) -> str:
    """SHA-256 over the files of MODEL/encoder, in hex: all that decides a vector.

    - weights: `weights.safetensors`;
    - tokenizer, and the backbones' configurations: `text/`, `vision/`;
    - pooling, prefixes, lengths, image size and normalisation, fusion, dimension:
      `architecture.json`. Every vector is of unit length; that is no setting.

    It is of content, not of a name: renaming or moving a model, or the checkpoint that it was
    trained from, never changes it. What lies beside the encoder (training history, reports) does
    not count.

    Args:
        model: A model directory as every training stage writes it.

    Raises:
        ArtifactError: There is no encoder.
    """
    encoder = model / ENCODER_DIRECTORY
    files = list(files_below(encoder)) if encoder.is_dir() else []
    if not files:
        raise ArtifactError(
            f"{model} is not a model: it has no files in {ENCODER_DIRECTORY}/. "
            "Give the directory that a training stage wrote."
        )
    return sha256_json([[path.relative_to(encoder).as_posix(), _digest(path)] for path in files])


def _digest(path: Path) -> str:
    """Of the bytes; of a record that holds names, of its content without them."""
    names = _NAMES.get(path.name)
    if names is None or path.stat().st_size > _MAX_RECORD_BYTES:
        return sha256_file(path)
    try:
        record = json.loads(path.read_bytes())
    except ValueError:  # no JSON after all: then its bytes are its content
        return sha256_file(path)
    for place in names:
        _forget(record, place)
    return sha256_json(record)


def _forget(record: Any, place: tuple[str, ...]) -> None:
    *parents, name = place
    for parent in parents:
        record = record.get(parent) if isinstance(record, dict) else None
    if isinstance(record, dict):
        record.pop(name, None)
