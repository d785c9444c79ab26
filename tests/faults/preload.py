"""Imported once by the process that all broken processes are forked from."""

import warnings
from importlib import import_module

import mmr.cli
from mmr import stages
from mmr.tracking.connection import import_mlflow

_USED_LATER = (
    "great_expectations",
    "kfp.local",
    "mmr.tracking.mlflow_tracking",
    "onnxruntime",
    "pipelines.launch",
    "pipelines.refresh_run",
    "serving.doctor.diagnosis",
    "serving.rollback",
    "serving.unserved",
    "torch.onnx",
    "transformers",
    "tritonclient.grpc",
)

import_mlflow()
mmr.cli.build_app()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _module in _USED_LATER:
        import_module(_module)
    for _stage in stages.__all__:
        getattr(stages, _stage)
