"""A strict reader of Prometheus's text format 0.0.4, after its specification."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:{{(.*)}})? (\S+)")


@dataclass
class Family:
    """A metric."""

    kind: str
    help: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Reads a textfile; `AssertionError` names the first line that breaks the format."""
    assert text.endswith("\n"), "the last line must end with a line feed"
    families: dict[str, Family] = {}
    current, helped = "", ""
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({_NAME}) (.*)", line):
            assert match[1] not in families, f"{match[1]} stands twice"
            assert re.fullmatch(r"(?:[^\\]|\\\\|\\n)*", match[2]), line
            current, helped = match[1], match[2]
        elif match := re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge|untyped)", line):
            assert match[1] == current, f"TYPE without HELP: {line}"
            families[current] = Family(match[2], helped)
        else:
            sample = _SAMPLE.fullmatch(line)
            assert sample, f"no sample: {line!r}"
            assert sample[1] == current, f"{sample[1]} outside its family"
            assert sample[1] in families, f"no TYPE before {line}"
            labels = _read_labels(sample[2])
            assert labels not in families[current].samples, f"{line} stands twice"
            value = float(sample[3])
            assert math.isfinite(value), line
            families[current].samples[labels] = value
    return families


def _read_labels(text: str | None) -> tuple[tuple[str, str], ...]:
    if text is None:
        return ()
    place, found = 0, []
    while place < len(text):
        match = _LABEL.match(text, place)
        assert match, f"no label: {text[place:]!r}"
        value = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[2])
        found.append((match[1], value))
        place = match.end()
    assert len({name for name, _ in found}) == len(found), f"a label stands twice: {text}"
    return tuple(found)
