"""How MLflow loads a registered release, as in `load_model("models:/mmr-retriever@champion")`.

MLflow calls `_load_pyfunc` by name. The model turns query texts into embeddings; the index stays in
the release directory, since encoder and index are only ever used as one release.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.types import Float32Array


class QueryEmbedder:
    """What `load_model` returns."""

    def __init__(self, directory: Path) -> None:
        self._encoder = OnnxQueryEncoder(directory)

    def predict(
        self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> Float32Array:
        """Embeds the column `query`: `(queries, dim)`, unit length."""
        return self._encoder.encode([str(text) for text in model_input["query"]])


def _load_pyfunc(data_path: str) -> QueryEmbedder:
    return QueryEmbedder(Path(data_path))
