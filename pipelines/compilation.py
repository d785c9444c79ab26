"""The pipelines by name, and their compilation to text."""

import tempfile
from pathlib import Path

from kfp import compiler, dsl

from pipelines.refresh import build_refresh
from pipelines.resources import Resources
from pipelines.retrain import build_retrain

_BUILDERS = {"retrain": build_retrain, "refresh": build_refresh}


def build_pipeline(name: str, resources: Resources) -> dsl.base_component.BaseComponent:
    """Builds the pipeline `retrain` or `refresh`; `resources` are those of its heavy steps."""
    return _BUILDERS[name](resources)


def compile_ir(pipeline: dsl.base_component.BaseComponent) -> str:
    """Compiles a pipeline to IR YAML; a volume becomes a second document, for Kubernetes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")
