"""Settings of the local Triton server and of a deployment to it."""

import os
from typing import Self

from pydantic import Field, model_validator

from mmr.config.base import Settings


class ModelSettings(Settings):
    """How Triton runs the two models; becomes their `config.pbtxt`."""

    max_batch: int = Field(64, ge=1, le=1024, description="Queries per execution at most.")
    queue_delay_us: int = Field(
        0, ge=0, le=100_000, description="Microseconds that a query may wait for company."
    )
    threads: int = Field(
        default_factory=lambda: min(2, os.cpu_count() or 1),
        ge=1,
        description="ONNX Runtime and Faiss threads of one instance; docs/serving.md has why.",
    )
    instances: int = Field(1, ge=1, description="Processes per model version.")


class ServeSettings(Settings):
    """Where the local server listens and how long its start may take."""

    http_port: int = Field(8000, ge=1, le=65535, description="Port of the HTTP protocol.")
    grpc_port: int = Field(8001, ge=1, le=65535, description="Port of the gRPC protocol.")
    metrics_port: int = Field(8002, ge=1, le=65535, description="Port of Prometheus metrics.")
    host: str = Field("127.0.0.1", description="Address to bind; loopback unless you change it.")
    open_http: bool = Field(
        False,
        description="Whether HTTP takes queries and commands. Triton's reader of JSON can be made "
        "to end the server, so by default HTTP tells of health, metadata and statistics alone.",
    )
    start_timeout_s: float = Field(60.0, gt=0, description="Seconds until the server must answer.")
    stop_grace_s: float = Field(15.0, gt=0, description="Seconds between SIGTERM and SIGKILL.")
    models: ModelSettings | None = Field(
        None, description="None for what was last chosen in the workspace, or else the defaults."
    )

    @model_validator(mode="after")
    def _check_ports_differ(self) -> Self:
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        if len(set(ports)) < len(ports):
            raise ValueError(f"http, gRPC and metrics need three different ports, not {ports}")
        return self

    @classmethod
    def from_port_base(cls, base: int) -> Self:
        """HTTP on `base`, gRPC on the next port, metrics on the one after."""
        return cls(http_port=base, grpc_port=base + 1, metrics_port=base + 2)


class DeploySettings(Settings):
    """What a release must show on its golden queries before it gets traffic."""

    max_cosine_distance: float = Field(
        1e-4, gt=0, description="Between recorded and served query embedding, worst query."
    )
    min_overlap: float = Field(
        0.9, ge=0, le=1, description="Share of the recorded top products found, worst query."
    )
    max_median_ms: float = Field(
        250.0, gt=0, description="Median milliseconds of one search on this machine."
    )
    load_timeout_s: float = Field(120.0, gt=0, description="Seconds a model may take to load.")
    keep_versions: int = Field(
        2, ge=1, description="Versions kept loaded, the newest included; older ones are retired."
    )
    keep_warm_s: float = Field(
        86_400.0,
        ge=0,
        description="Seconds that versions before the new one stay loaded, for an instant rollback "
        "and for clients that pin them.",
    )
