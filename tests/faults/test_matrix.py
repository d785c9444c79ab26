"""docs/faults.md names every fault with its test, and no test that is not there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text("utf-8")))
)


def names_in(file: Path) -> set[str]:
    """The names of its test functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_is_there(file: str, name: str) -> None:
    assert name in names_in(ROOT / file)


def test_every_fault_that_is_injected_is_named() -> None:
    own = Path(__file__).name
    there = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in Path(__file__).parent.glob("test_*.py")
        if file.name != own
        for name in names_in(file)
    }

    assert there - set(NAMED) == set()
