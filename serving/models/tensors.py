"""Reads what Triton hands over and builds what it takes back. Imported by Triton only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # exists inside Triton's Python process only
from numpy.typing import NDArray

from mmr.errors import MmrError
from serving.models.requests import RequestError, RequestOptions, read_options


def staged_release(args: Mapping[str, str]) -> Path:
    """The release files beside the `model.py` of the version that is being loaded."""
    return Path(args["model_repository"]) / args["model_version"] / "release"


def threads(args: Mapping[str, str]) -> int:
    """Threads of this instance, from `config.pbtxt`."""
    return int(json.loads(args["model_config"])["parameters"]["threads"]["string_value"])


def input_array(request: Any, name: str) -> NDArray[Any] | None:
    """An input tensor, or None if the sender left it out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def options(request: Any) -> RequestOptions:
    """The request's parameters.

    Raises:
        RequestError: One of them cannot be used.
    """
    return read_options(request.parameters())


def response(wanted: set[str], outputs: Mapping[str, NDArray[Any]]) -> Any:
    """A response with those of the outputs that the sender asked for."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, value) for name, value in outputs.items() if name in wanted]
    )


def refusal(error: RequestError) -> Any:
    """A response that tells one sender what is wrong, while the rest of the batch is answered."""
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    )


def load_failure(error: MmrError) -> Any:
    """What `initialize` raises: Triton then reports this model version as not loaded."""
    return pb_utils.TritonModelException(f"{type(error).__name__}: {error}")


def column(value: str, rows: int) -> NDArray[np.object_]:
    """The same text for each row, `(rows, 1)`."""
    return np.full((rows, 1), value.encode(), dtype=np.object_)
