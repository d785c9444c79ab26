"""Imported once by the process that all broken processes are forked from."""

from importlib import import_module

import mmr.cli
from mmr.tracking.connection import import_mlflow

_USED_LATER = (
    "mmr.tracking.mlflow_tracking",
    "serving.doctor.diagnosis",
    "serving.rollback",
    "serving.unserved",
    "tritonclient.grpc",
)

import_mlflow()
mmr.cli.build_app()
for _module in _USED_LATER:
    import_module(_module)
