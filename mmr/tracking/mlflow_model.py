"""A release as an MLflow model: loadable, with a signature."""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from mmr import __version__
from mmr.errors import TrackingError

_LOADER = "mmr.release.pyfunc"  # by name: MLflow imports it when the model is loaded
_REQUIREMENTS = ("onnxruntime", "tokenizers", "numpy", "pandas")
_QUERY_ENCODER = "query_encoder"


def log_release_model(
    client: MlflowClient, *, experiment_id: str, run_id: str, release_id: str, release_dir: Path
) -> LoggedModel:
    """Logs the query encoder of a release as an MLflow model (text in, embedding out).

    The index is not copied: it belongs to the release directory, which the tags name.
    """
    encoder = release_dir / _QUERY_ENCODER
    with tempfile.TemporaryDirectory(prefix="mmr-model-") as scratch:
        target = Path(scratch) / "model"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example.*")
            mlflow.pyfunc.save_model(
                str(target),
                loader_module=_LOADER,
                data_path=str(encoder),
                signature=_signature(_dim(encoder)),
                pip_requirements=[
                    f"mmr=={__version__}",
                    *(f"{name}=={version(name)}" for name in _REQUIREMENTS),
                ],
                metadata={"release_id": release_id},
            )
        model = client.create_logged_model(
            experiment_id,
            name="query_encoder",
            source_run_id=run_id,
            tags={"release_id": release_id},
            model_type="retriever",
        )
        client.log_model_artifacts(model.model_id, str(target))
        return client.finalize_logged_model(model.model_id, "READY")


def _signature(dim: int) -> Any:
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "query")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, dim))]),
    )


def _dim(encoder: Path) -> int:
    try:
        return int(json.loads((encoder / "encoder.json").read_text(encoding="utf-8"))["dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{encoder} holds no query encoder that can be registered ({error!r})."
        ) from error
