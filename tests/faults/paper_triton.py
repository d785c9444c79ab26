"""Triton's model control on paper: what is loaded is a file, so that it survives a killed caller.

It keeps the rules that a deployment builds upon: loading a model loads the newest versions that
lie in its directory and drops the others; what is loaded answers from its own memory, whatever
becomes of the files; an unpinned request goes to the newest loaded version.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmr.errors import ServingError
from tests.faults.injector import reach

Loaded = dict[str, dict[str, str]]
"""Model to version to the release directory that answers."""


class PaperTriton:
    """Stands for `serving.transport.GrpcTransport` and the server behind it.

    Args:
        workspace: The workspace's directory.
    """

    def __init__(self, workspace: Path) -> None:
        self.url = "paper:1"
        self._workspace = workspace
        self._state = workspace.parent / "triton-memory.json"  # beside: no write of the product

    def loaded_versions(self) -> Loaded:
        """What is loaded."""
        return json.loads(self._state.read_text()) if self._state.is_file() else {}

    def load(self, model: str, *, timeout_s: float) -> None:
        reach(f"load {model}")
        with self._changing() as loaded:
            found = self._on_disk(model)
            if not found:
                raise ServingError(f"Triton: no version of {model} is there")
            before = loaded.get(model, {})
            loaded[model] = {number: before.get(number, name) for number, name in found.items()}
        reach(f"loaded {model}")

    def unload(self, model: str) -> None:
        reach(f"unload {model}")
        with self._changing() as loaded:
            loaded.pop(model, None)
        reach(f"unloaded {model}")

    def ready(self, model: str | None = None, *, version: int | None = None) -> bool:
        loaded = self.loaded_versions()
        return model is None or (
            str(version) in loaded.get(model, {}) if version else model in loaded
        )

    def loaded(self) -> list[tuple[str, int]]:
        return [(model, int(n)) for model, held in self.loaded_versions().items() for n in held]

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        *,
        version: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Answers with the golden answers of the release; the first one for any other query."""
        held = self.loaded_versions().get(model, {})
        number = str(version or max(map(int, held), default=0))
        if number not in held:
            raise ServingError(f"Triton: {model} version {number} is not found")
        release = held[number]
        record = json.loads((self._workspace / "releases" / release / "golden.json").read_text())
        known = {query["text"]: query for query in record["queries"]}
        texts = [bytes(text).decode() for text in inputs["TEXT"][:, 0]]
        found = [known.get(text, record["queries"][0]) for text in texts]
        answer = {
            "EMBEDDING": np.array([query["embedding"] for query in found], np.float32),
            "PRODUCT_IDS": _bytes([query["product_ids"] for query in found]),
            "TITLES": _bytes([query["product_ids"] for query in found]),
            "SCORES": np.array([query["scores"] for query in found], np.float32),
            "RELEASE_ID": _bytes([[release] for _ in found]),
        }
        return {name: answer[name] for name in outputs if name in answer}

    def close(self) -> None:
        """Nothing is open."""

    def _on_disk(self, model: str) -> dict[str, str]:
        directory = self._workspace / "serving" / "repository" / model
        config = (directory / "config.pbtxt").read_text()
        policy = re.search(r"num_versions: (\d+)", config)
        kept = int(policy[1]) if policy else 1
        numbers = sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
        manifests = {number: directory / str(number) / "release/release.json" for number in numbers}
        return {
            str(number): json.loads(manifests[number].read_text())["release_id"]
            for number in numbers[-kept:]
        }

    @contextmanager
    def _changing(self) -> Iterator[Loaded]:
        with self._state.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            loaded = self.loaded_versions()
            yield loaded
            scratch = self._state.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(loaded))
            scratch.replace(self._state)


def _bytes(rows: Sequence[Sequence[str]]) -> Any:
    return np.array([[text.encode() for text in row] for row in rows], dtype=np.object_)
