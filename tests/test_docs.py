"""Commands named in the docs exist, with the options they are shown with."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer.main

from mmr.cli import build_app

ROOT = Path(__file__).parents[1]
_PLACES = ("*.md", "docs/*.md", "components/*/README.md", "serving/**/*.md", "benchmarks/*.md")
DOCS = sorted(path for place in _PLACES for path in ROOT.glob(place))
_FENCE = re.compile(r"```(?:bash|console|sh)\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:mmr|make) [^`\n]+)`(?!`)")


def _commands(text: str, program: str) -> list[str]:
    """Commands of one program in the fenced shell blocks and the inline code of a document."""
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in blocks]
    found = [line.split(" #")[0] for line in [*lines, *_INLINE.findall(text)]]
    return [line for line in found if line.startswith(f"{program} ")]


def _mentions(program: str) -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), command)
        for path in DOCS
        for command in _commands(path.read_text(encoding="utf-8"), program)
    ]


@cache
def _options() -> dict[str, set[str]]:
    """Every command of the console script, `train fusion` and the like too, with its options."""
    found: dict[str, set[str]] = {}
    waiting = [("", typer.main.get_command(build_app()))]
    while waiting:
        name, command = waiting.pop()
        found[name] = {option for parameter in command.params for option in _names(parameter)}
        children = getattr(command, "commands", {})
        waiting.extend((f"{name} {child}".strip(), children[child]) for child in children)
    return found


def _names(parameter: object) -> list[str]:
    return [*getattr(parameter, "opts", []), *getattr(parameter, "secondary_opts", [])]


@pytest.mark.parametrize(("document", "command"), _mentions("mmr"))
def test_mmr_command_exists_with_its_options(document: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "COMMAND":
        return
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in _options()), None)
    if words[0].startswith("-"):
        name = ""
    assert name is not None, f"{document}: `{command}` names no command of mmr"
    named = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    unknown = named - _options()[name] - {"--help"}
    assert not unknown, f"{document}: `{command}` has unknown options {sorted(unknown)}"


@pytest.mark.parametrize(("document", "command"), _mentions("make"))
def test_make_target_exists(document: str, command: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert command.split()[1] in targets, f"{document}: `{command}` names no verb of the Makefile"


def test_readme_starts_with_the_two_commands() -> None:
    blocks = _FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))

    assert [block.strip() for block in blocks[:2]] == ["make demo", "make test"]


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        (path.name, target)
        for path in DOCS
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]

    assert broken == []
