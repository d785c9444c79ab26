"""Schedules of a machine without a cluster: a crontab line, or the two units of a systemd timer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.cron import CronSchedule


@dataclass(frozen=True)
class ScheduledCommand:
    """A command of mmr that recurs on this machine.

    Attributes:
        name: Of the units; letters, digits and `-`.
        arguments: What follows `mmr`; paths are absolute.
        directory: Where it runs.
        log: A crontab line appends to it; systemd has a journal.
        schedule: When.
    """

    name: str
    arguments: Sequence[str]
    directory: Path
    log: Path
    schedule: CronSchedule

    @property
    def command(self) -> list[str]:
        """Interpreter and arguments: cron knows neither the virtual environment nor the path."""
        return [sys.executable, "-m", "mmr", *self.arguments]

    def as_crontab(self) -> str:
        """One line for `crontab -e`, after a comment. In the machine's own time zone."""
        command = (
            f"cd {shlex.quote(str(self.directory))} && {shlex.join(self.command)} "
            f">> {shlex.quote(str(self.log))} 2>&1"
        )
        line = command.replace("%", r"\%")  # cron reads a bare % as the end of the line
        return f"# {self.name}\n{self.schedule.as_crontab()} {line}\n"

    def as_systemd(self) -> dict[str, str]:
        """File name to content of a service and its timer."""
        service = [
            "[Unit]",
            f"Description=mmr {self.arguments[0]} ({self.name})",
            "",
            "[Service]",
            "Type=oneshot",
            f"WorkingDirectory={_specifier_free(str(self.directory))}",
            f"ExecStart={' '.join(map(_quoted, self.command))}",
            "Nice=10",
            "# A Triton that this run has to start goes on serving when the run is over.",
            "KillMode=process",
        ]
        timer = [
            "[Unit]",
            f"Description=Timer of {self.name}",
            "",
            "[Timer]",
            *(f"OnCalendar={when}" for when in self.schedule.as_on_calendar()),
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
        ]
        return {
            f"{self.name}.service": "\n".join(service) + "\n",
            f"{self.name}.timer": "\n".join(timer) + "\n",
        }


def _quoted(argument: str) -> str:
    """As systemd reads it: in quotes, without specifiers and variables."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_specifier_free(escaped)}"'


def _specifier_free(text: str) -> str:
    return text.replace("%", "%%")
