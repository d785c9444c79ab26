"""Imported once by the process that all broken processes are forked from."""

import warnings
from importlib import import_module

import mmr.cli
from pipelines.step_server import import_libraries

_USED_LATER = (
    "kfp.local",
    "pipelines.launch",
    "pipelines.refresh_run",
    "serving.doctor.diagnosis",
    "serving.rollback",
    "serving.unserved",
    "tritonclient.grpc",
)

import_libraries()
mmr.cli.build_app()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _module in _USED_LATER:
        import_module(_module)
