"""Compilation of a pipeline to text."""

import tempfile
from pathlib import Path

from kfp import compiler, dsl


def compile_ir(pipeline: dsl.base_component.BaseComponent) -> str:
    """Compiles a pipeline to IR YAML; a volume becomes a second document, for Kubernetes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")
