"""Rules that every component keeps."""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import components
from components.image import MMR_IMAGE

FOLDERS = sorted(path.parent for path in Path(components.__path__[0]).glob("*/component.py"))
NAMES = [folder.name for folder in FOLDERS]
NEVER_CACHED = {"find_champion", "check_refresh", "register_release", "deploy_triton"}


def _component(name: str) -> Any:
    return getattr(import_module(f"components.{name}.component"), name)


@pytest.mark.parametrize("name", NAMES)
def test_component_runs_on_the_one_image_and_installs_nothing(name: str) -> None:
    container = _component(name).component_spec.implementation.container

    assert container.image == MMR_IMAGE
    assert "pip install" not in " ".join(container.command)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_strings(name: str) -> None:
    inputs = _component(name).component_spec.inputs

    assert {spec.type for spec in inputs.values()} <= {
        "String",
        "system.Dataset@0.0.1",
        "system.Model@0.0.1",
        "system.Artifact@0.0.1",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_body_is_thin_and_announces_itself_by_its_own_name(folder: Path) -> None:
    """More than about ten statements means that a stage is missing."""
    (function,) = [
        node
        for node in ast.parse((folder / "component.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    statements = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
    ]
    announced = [
        node.args[0].value
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "step"
        and isinstance(node.args[0], ast.Constant)
    ]

    assert len(statements) <= 12
    assert announced == [folder.name]


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_readme_names_every_input_and_output(folder: Path) -> None:
    spec = _component(folder.name).component_spec
    readme = (folder / "README.md").read_text()

    outputs = {name for name in spec.outputs or {} if name != "Output"}
    missing = [name for name in {*spec.inputs, *outputs} if f"`{name}`" not in readme]
    assert missing == []


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NEVER_CACHED])
def test_steps_that_are_cached_depend_on_the_version_of_the_code(name: str) -> None:
    assert "code_version" in _component(name).component_spec.inputs
