"""Markdown for people, in which text of a feed stays text."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "unknown"


def document(*blocks: str) -> str:
    """Blocks with an empty line between them."""
    return "\n\n".join(blocks) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; a cell that is None says `unknown`."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)


def cell(value: object) -> str:
    """One value of a table."""
    return UNKNOWN if value is None else plain(str(value))


def plain(text: str) -> str:
    """Text of a feed stays text: no markup, no new cell, no new line."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown.replace("|", "\\|").replace("<", "&lt;")
