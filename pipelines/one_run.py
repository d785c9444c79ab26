"""What a run has for itself: a place for its records, and where it prints."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from mmr.workspace import Workspace

_LOG_WIDTH = 110  # characters of a table where there is no terminal to ask


def new_console() -> Console:
    """Where runs print: the terminal, or a log of fixed width."""
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, width=width)


def new_run_directory(workspace: Workspace) -> Path:
    """Where a run that starts now keeps its summary and log; not made yet."""
    return workspace.runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
