"""Progress bars on terminals and in logs; a real pseudo-terminal is stderr."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

_WORK = """
from mmr.progress import progress_bar

with progress_bar("train", 2) as bar:
    bar.advance(2, note="loss 0.5")
"""


def shown(on_terminal: bool, **environment: str) -> str:
    """What stderr gets of a finished bar."""
    settings = {k: v for k, v in os.environ.items() if k not in ("TERM", "FORCE_COLOR")}
    command, settings = [sys.executable, "-c", _WORK], {**settings, **environment}
    if not on_terminal:
        return subprocess.run(
            command, env=settings, stderr=subprocess.PIPE, text=True, check=True
        ).stderr
    reader, writer = pty.openpty()
    try:
        subprocess.run(command, env=settings, stderr=writer, check=True)
        return os.read(reader, 65_536).decode()
    finally:
        os.close(reader)
        os.close(writer)


def test_a_terminal_gets_a_live_bar() -> None:
    assert "\x1b[" in shown(True, TERM="xterm")


@pytest.mark.parametrize(
    ("on_terminal", "environment"),
    [(True, {"TERM": "dumb"}), (False, {}), (False, {"TERM": "xterm", "FORCE_COLOR": "1"})],
)
def test_a_dumb_terminal_and_a_log_get_lines(
    on_terminal: bool, environment: dict[str, str]
) -> None:
    assert shown(on_terminal, **environment).splitlines() == ["train: 2/2, 0 s loss 0.5"]
