"""One command, killed in every step of its pipeline, one kill after the other in one workspace.

Every start begins where the last one died, so a step that could not begin among the leavings of
all those before would end the chain.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import injector, shop
from tests.faults.injector import Fault, InStep

TRAINING = ("train_text_only", "finetune_vision", "align_queries", "train_fusion")
PROOF = ("embed_catalogue", "build_index", "find_champion", "evaluate_gate")
RELEASE = ("register_release", "deploy_triton")
RUN = ("import_data", "validate_data", *TRAINING, *PROOF, *RELEASE)
REFRESH = (
    *("find_champion", "import_data", "validate_data", "embed_changes"),
    *("build_index", "check_refresh", *RELEASE),
)
WRITES = (0, 5, 10_000)
"""Of each step: its start, a write inside it (where it has so many), its end."""
PATIENCE_S = 1200  # on a machine with much else to do
SECRET = "hush-5eb1c2a7"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "GIT_TOKEN", "HF_TOKEN")
"""Variables of the environment in which the commands run; each holds the secret."""


@dataclass(frozen=True)
class Killed:
    """What a chain of kills saw.

    Attributes:
        seen: For each kill: the step, the write that it prevented, the files that decide what
            serves, and in the last steps what `shop.look` saw.
        error: Of the command when it was left alone at last.
        look: What is served then.
    """

    seen: list[dict[str, Any]]
    error: str | None
    look: dict[str, Any]


def kill_in_every_step(place: Path, steps: tuple[str, ...], arguments: tuple[str, ...]) -> Killed:
    """Kills a command in every step of its pipeline, then lets it finish.

    Args:
        place: Holds the workspace `shop`.
        steps: Of the pipeline, in the order in which they run.
        arguments: The command.
    """
    seen = []
    for step in steps:
        for write in WRITES:
            last = _kill(place, InStep(step, write), arguments)
            look = injector.run(shop.look, place, root=place).value if step in RELEASE else None
            seen.append({"step": step, "write": last, "look": look, "served": _served(place)})
            if last == f"end {step}":
                break
    finished = _run(place, arguments)
    return Killed(seen, finished.error, injector.run(shop.look, place, root=place).value)


def command(place: Path, *arguments: str) -> None:
    """As `shop.command`, with secrets in the environment."""
    os.environ.update(dict.fromkeys(SECRETS, SECRET))
    shop.command(place, *arguments)


def _kill(place: Path, at: InStep, arguments: tuple[str, ...]) -> str:
    outcome = _run(place, arguments, fault=Fault.KILL, at=at)
    return str(outcome.last if outcome.killed else f"was not killed: {outcome}")


def _run(place: Path, arguments: tuple[str, ...], **fault: Any) -> injector.Outcome:
    return injector.run(command, place, *arguments, root=place / "shop", **fault)


def _served(place: Path) -> dict[str, str]:
    """What decides what is served: the files of the server, and which releases lie there."""
    workspace = place / "shop"
    active = workspace / "serving" / "active.json"
    return {
        "active.json": active.read_text(encoding="utf-8") if active.is_file() else "",
        "releases": " ".join(sorted(p.name for p in (workspace / "releases").glob("[!.]*"))),
    }
