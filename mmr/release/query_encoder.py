"""The query encoder as it serves: ONNX Runtime and the tokenizer, without torch.

Runs in the training environment and in the inference server's alike (numpy 1 and 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.types import Float32Array, Int64Array

FORMAT_VERSION = 1
BATCH_SIZE = 64  # larger batches gain nothing on a CPU
_MAX_RECORD_BYTES = 1 << 20
_MAX_TOKENIZER_BYTES = 256 << 20
_MAX_ONNX_BYTES = 2 << 30  # of any ONNX file that holds its own weights


@dataclass(frozen=True)
class QueryEncoderRecord:
    """What `encoder.json` says.

    Attributes:
        dim: Length of an embedding.
        max_tokens: Longer queries are cut.
        prefix: Put before each query.
        pad_id: Token that fills shorter queries of a batch.
        fingerprint: Of the encoder that was exported.
    """

    dim: int
    max_tokens: int
    prefix: str
    pad_id: int
    fingerprint: str


class OnnxQueryEncoder:
    """Turns query texts into unit vectors.

    Args:
        directory: Holds `encoder.onnx`, `tokenizer.json` and `encoder.json`.
        threads: Threads of one `encode` call. On a server: cores divided by instances.

    Raises:
        ArtifactError: The directory is no exported query encoder of this format.
        CorruptArtifactError: A file cannot be parsed.
    """

    def __init__(self, directory: Path, threads: int = 1) -> None:
        self.record = read_encoder_record(directory)
        self._tokenizer = _open_tokenizer(directory / "tokenizer.json", self.record)
        self._session = _open_session(directory / "encoder.onnx", threads)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.record.dim

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the encoder that was exported; an index must carry the same."""
        return self.record.fingerprint

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Embeds queries, `(queries, dim)`, unit length. An empty text has an embedding too.

        Raises:
            CorruptArtifactError: The model returns something other than unit vectors.
        """
        tokens = self._tokenizer.encode_batch([self.record.prefix + text for text in texts])
        ids = [encoding.ids for encoding in tokens]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))  # like lengths together
        embeddings: Float32Array = np.empty((len(ids), self.dim), dtype=np.float32)
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            embeddings[rows] = self._run([ids[row] for row in rows])
        return embeddings

    def _run(self, ids: list[list[int]]) -> Float32Array:
        input_ids, mask = _pad(ids, self.record.pad_id)
        (embedding,) = self._session.run(
            ["embedding"], {"input_ids": input_ids, "attention_mask": mask}
        )
        lengths = np.linalg.norm(embedding, axis=-1)
        if embedding.shape != (len(ids), self.dim) or not (np.abs(lengths - 1) < 1e-3).all():
            raise CorruptArtifactError(
                f"The exported query encoder returned an array of shape {embedding.shape} with "
                f"lengths from {lengths.min():.4g} to {lengths.max():.4g}; expected were "
                f"{(len(ids), self.dim)} and length 1. Export it again."
            )
        result: Float32Array = embedding
        return result


def read_encoder_record(directory: Path) -> QueryEncoderRecord:
    """Reads `encoder.json`.

    Raises:
        ArtifactError: It is missing or of another format version.
        CorruptArtifactError: It cannot be parsed.
    """
    path = directory / "encoder.json"
    if not path.is_file():
        raise ArtifactError(
            f"{directory} is not an exported query encoder: it has no encoder.json."
        )
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise ValueError(f"larger than {_MAX_RECORD_BYTES} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format_version"]
        record = QueryEncoderRecord(
            dim=int(values["dim"]),
            max_tokens=int(values["max_tokens"]),
            prefix=str(values["prefix"]),
            pad_id=int(values["pad_id"]),
            fingerprint=str(values["fingerprint"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(
            f"{path} cannot be read ({error!r}). Register the release again."
        ) from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {version}, but this mmr reads version {FORMAT_VERSION}. "
            "Use the mmr that made it, or register the release again."
        )
    return record


def _check_size(path: Path, limit: int) -> None:
    if not path.is_file():
        raise CorruptArtifactError(f"{path} is missing. Register the release again.")
    if (size := path.stat().st_size) > limit:
        raise CorruptArtifactError(
            f"{path} is {size} bytes, more than the {limit} allowed. Register the release again."
        )


def _open_tokenizer(path: Path, record: QueryEncoderRecord) -> Any:
    from tokenizers import Tokenizer

    _check_size(path, _MAX_TOKENIZER_BYTES)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise CorruptArtifactError(
            f"{path} is not a tokenizer ({error}). Register the release again."
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=record.max_tokens)
    return tokenizer


def _open_session(path: Path, threads: int) -> Any:
    import onnxruntime

    _check_size(path, _MAX_ONNX_BYTES)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # threads that spin while they wait answer a third less beside a deployment: docs/serving.md
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise CorruptArtifactError(
            f"{path} is not an ONNX model that can be run ({error}). Register the release again."
        ) from error


def _pad(ids: list[list[int]], pad_id: int) -> tuple[Int64Array, Int64Array]:
    """Fills up to the batch's longest: token ids and attention mask, `(batch, tokens)`."""
    longest = max(1, *(len(row) for row in ids)) if ids else 1
    input_ids: Int64Array = np.full((len(ids), longest), pad_id, dtype=np.int64)
    mask: Int64Array = np.zeros((len(ids), longest), dtype=np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return input_ids, mask
