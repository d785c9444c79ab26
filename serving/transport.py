"""The door to tritonclient: one call per need, over gRPC or HTTP, errors as `ServingError`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmr.errors import ServingError

Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, str | int | bool]

_DATA_TYPES = {"O": "BYTES", "i": "INT32", "f": "FP32"}


class TransportProtocol(StrEnum):
    """How to talk to Triton."""

    GRPC = "grpc"
    HTTP = "http"


class NotLoadedError(ServingError):
    """The model, or the version of it that was asked for, is not loaded."""


class Transport(Protocol):
    """What client and deployment need of a Triton server."""

    url: str

    def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        version: int | None = None,
        parameters: Parameters | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Runs one request; the newest version unless one is named."""

    def load(self, model: str, *, timeout_s: float) -> None:
        """Loads the versions of a model that its version policy names."""

    def unload(self, model: str) -> None:
        """Unloads all versions of a model; requests under way finish first."""

    def ready(self, model: str | None = None, *, version: int | None = None) -> bool:
        """Whether the server, or one model of it, answers."""

    def loaded(self) -> list[tuple[str, int]]:
        """Every model and version that is ready."""

    def close(self) -> None:
        """Ends the connection."""


def connect(url: str, *, protocol: TransportProtocol | str, timeout_s: float) -> Transport:
    """Prepares a connection; nothing is sent yet.

    Args:
        url: `host:port`, without a scheme.
        protocol: gRPC or HTTP; each has its own port.
        timeout_s: Seconds that one call may take.

    Raises:
        ServingError: The URL cannot be used.
    """
    if "://" in url or ":" not in url:
        raise ServingError(
            f"{url!r} is not a Triton address. Give host:port, for example 127.0.0.1:8001."
        )
    if TransportProtocol(protocol) is TransportProtocol.GRPC:
        return GrpcTransport(url, timeout_s=timeout_s)
    return HttpTransport(url, timeout_s=timeout_s)


class GrpcTransport:
    """Triton's gRPC protocol. Use one per thread."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        import tritonclient.grpc as vendor

        self.url, self._timeout_s, self._vendor = url, timeout_s, vendor
        self._client = vendor.InferenceServerClient(url)

    def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        version: int | None = None,
        parameters: Parameters | None = None,
    ) -> dict[str, NDArray[Any]]:
        with _translated(self.url, model):
            result = self._client.infer(
                model,
                _inputs(self._vendor, inputs),
                model_version=_version(version),
                outputs=[self._vendor.InferRequestedOutput(name) for name in outputs],
                client_timeout=self._timeout_s,
                parameters=dict(parameters or {}) or None,
            )
        return {name: result.as_numpy(name) for name in outputs}

    def load(self, model: str, *, timeout_s: float) -> None:
        with _translated(self.url, model):
            self._client.load_model(model, client_timeout=timeout_s)

    def unload(self, model: str) -> None:
        with _translated(self.url, model):
            self._client.unload_model(model, client_timeout=self._timeout_s)

    def ready(self, model: str | None = None, *, version: int | None = None) -> bool:
        with _translated(self.url, model):
            if model is None:
                return bool(self._client.is_server_ready(client_timeout=self._timeout_s))
            return bool(
                self._client.is_model_ready(
                    model, _version(version), client_timeout=self._timeout_s
                )
            )

    def loaded(self) -> list[tuple[str, int]]:
        with _translated(self.url, None):
            index = self._client.get_model_repository_index(client_timeout=self._timeout_s)
        return [
            (model.name, int(model.version)) for model in index.models if _is_ready(model.state)
        ]

    def close(self) -> None:
        self._client.close()


class HttpTransport:
    """Triton's HTTP protocol. Use one per thread."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        import tritonclient.http as vendor

        self.url, self._timeout_s, self._vendor = url, timeout_s, vendor
        self._client = self._open(timeout_s)

    def _open(self, timeout_s: float) -> Any:
        return self._vendor.InferenceServerClient(
            self.url, connection_timeout=timeout_s, network_timeout=timeout_s
        )

    def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        version: int | None = None,
        parameters: Parameters | None = None,
    ) -> dict[str, NDArray[Any]]:
        with _translated(self.url, model):
            result = self._client.infer(
                model,
                _inputs(self._vendor, inputs),
                model_version=_version(version),
                outputs=[self._vendor.InferRequestedOutput(name) for name in outputs],
                parameters=dict(parameters or {}) or None,
            )
        return {name: result.as_numpy(name) for name in outputs}

    def load(self, model: str, *, timeout_s: float) -> None:
        with _translated(self.url, model):
            client = self._open(timeout_s)
            try:
                client.load_model(model)
            finally:
                client.close()

    def unload(self, model: str) -> None:
        with _translated(self.url, model):
            self._client.unload_model(model)

    def ready(self, model: str | None = None, *, version: int | None = None) -> bool:
        with _translated(self.url, model):
            if model is None:
                return bool(self._client.is_server_ready())
            return bool(self._client.is_model_ready(model, _version(version)))

    def loaded(self) -> list[tuple[str, int]]:
        with _translated(self.url, None):
            index = self._client.get_model_repository_index()
        return [
            (model["name"], int(model["version"]))
            for model in index
            if _is_ready(model.get("state", ""))
        ]

    def close(self) -> None:
        self._client.close()


def _is_ready(state: str) -> bool:
    return state == "READY"


def _version(version: int | None) -> str:
    return "" if version is None else str(version)  # Triton reads "" as: the newest


def _inputs(vendor: ModuleType, arrays: Arrays) -> list[Any]:
    inputs = []
    for name, array in arrays.items():
        tensor = vendor.InferInput(name, list(array.shape), _DATA_TYPES[array.dtype.kind])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


@contextmanager
def _translated(url: str, model: str | None) -> Iterator[None]:
    from tritonclient.utils import InferenceServerException

    target = f"Triton at {url}" + (f", model {model}" if model else "")
    try:
        yield
    except InferenceServerException as error:
        raise _error(target, error.status() or "", str(error.message())) from error
    except (OSError, EOFError) as error:  # the HTTP client lets socket errors through
        raise _error(target, "UNAVAILABLE", str(error)) from error


def _error(target: str, status: str, message: str) -> ServingError:
    kind = NotLoadedError if _says_not_loaded(message.lower()) else ServingError
    return kind(_explain(target, status, message))


def _says_not_loaded(message: str) -> bool:
    signs = ("unknown model", "not found", "not at ready state")
    return any(sign in message for sign in signs)


def _explain(target: str, status: str, message: str) -> str:
    lowered = message.lower()
    if "DEADLINE_EXCEEDED" in status or "timed out" in lowered:
        cure = "The call took too long. Look at the server's load, or allow a longer timeout."
    elif "api is restricted" in lowered:
        cure = "HTTP is closed there: ask by gRPC, or restart it with `mmr serve --open-http`."
    elif _says_not_loaded(lowered):
        cure = "No such version is loaded. Deploy a release: `mmr deploy RELEASE`."
    elif "UNAVAILABLE" in status or "not healthy" in lowered:
        cure = "Look with `mmr serve --status`; start the server with `mmr serve`."
    else:
        cure = ""
    said = message.strip()
    return f"{target}: {said}{'' if said.endswith('.') else '.'} {cure}".rstrip()


def text_column(texts: Sequence[str | bytes]) -> NDArray[np.object_]:
    """Texts as Triton's BYTES tensor of shape `(texts, 1)`."""
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    return np.array(raw, dtype=np.object_).reshape(-1, 1)
