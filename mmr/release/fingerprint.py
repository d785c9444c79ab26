"""The identity of an encoder: the content of everything that decides a vector."""

from __future__ import annotations

from pathlib import Path

from mmr.errors import ArtifactError
from mmr.hashing import files_below, sha256_directory

ENCODER_DIRECTORY = "encoder"


def encoder_fingerprint(model: Path) -> str:
    """SHA-256 over the files of MODEL/encoder: weights, tokenizer, settings. In hex.

    It is of content, not of a name: renaming or moving a model never changes it, and what lies
    beside the encoder (training history, reports) does not count.

    Args:
        model: A model directory as every training stage writes it.

    Raises:
        ArtifactError: There is no encoder.
    """
    encoder = model / ENCODER_DIRECTORY
    if not encoder.is_dir() or not any(files_below(encoder)):
        raise ArtifactError(
            f"{model} is not a model: it has no files in {ENCODER_DIRECTORY}/. "
            "Give the directory that a training stage wrote."
        )
    return sha256_directory(encoder)
