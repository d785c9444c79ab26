"""What surrounds the one stage call of every component.

A step announces itself on stdout with lines that a person can read in a cluster's log and that
`mmr run` follows on a laptop: `::mmr {"event": "start", "step": "build_index"}`, then `end` with
the seconds and whatever the step reported, or `error` with the message.
"""

import json
import logging
import os
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mmr.disk import full_disk_message
from mmr.errors import MmrError

EVENT_PREFIX = "::mmr "
FOLLOWED = "MMR_FOLLOWED"  # set in a step's environment: end when nobody reads stdout any more


class MetricsArtifact(Protocol):
    """What a step needs of `dsl.Metrics`."""

    path: str

    def log_metric(self, metric: str, value: float) -> None:
        """Adds one metric to the artifact's metadata."""


class Step:
    """Collects what one step reports.

    Args:
        metrics: Receives the metrics, if the component has such an output.
    """

    def __init__(self, metrics: MetricsArtifact | None) -> None:
        self._metrics = metrics
        self.report: dict[str, Any] = {}

    def log(self, values: Mapping[str, float]) -> None:
        """Logs metrics to the artifact's metadata and to its file.

        The file matters: the step cache of `kfp.local` takes an output without one for missing
        and would run the step again every time.
        """
        self.report.update(values)
        if self._metrics is not None:
            for name, value in values.items():
                self._metrics.log_metric(name, value)
            Path(self._metrics.path).write_text(json.dumps(dict(values)), encoding="utf-8")

    def note(self, **values: str) -> None:
        """Adds words (a decision, a release id) to the step's last event."""
        self.report.update(values)


@contextmanager
def step(name: str, metrics: MetricsArtifact | None = None) -> Iterator[Step]:
    """Announces a step's start and end; a `MmrError` becomes one event and exit status 1.

    Any other exception is announced too and then raised: its traceback belongs in the log.

    Args:
        name: The component's name.
        metrics: The component's metrics output, if it has one.
    """
    logging.disable(logging.INFO)  # kfp's executor lets every vendor talk
    warnings.simplefilter("ignore")
    if os.environ.get(FOLLOWED):
        threading.Thread(target=_end_with_reader, daemon=True).start()
    current = Step(metrics)
    emit("start", step=name)
    begin = time.monotonic()
    try:
        yield current
        if metrics is not None and not Path(metrics.path).exists():
            current.log({})
    except Exception as error:
        message = _message_for_user(error)
        if message is not None:
            emit("error", step=name, message=message)
            raise SystemExit(1) from error
        bug = f"{type(error).__name__}: {error}"
        emit("error", step=name, message=bug, traceback=traceback.format_exc())
        raise
    finally:
        logging.disable(logging.NOTSET)
    emit("end", step=name, seconds=round(time.monotonic() - begin, 1), report=current.report)


def _message_for_user(error: Exception) -> str | None:
    if isinstance(error, OSError):
        return full_disk_message(error)
    return str(error) if isinstance(error, MmrError) else None


def emit(event: str, **fields: Any) -> None:
    """Writes one event line to stdout at once."""
    print(EVENT_PREFIX + json.dumps({"event": event, **fields}), flush=True)


def _end_with_reader() -> None:
    """Ends this process when the reader of its stdout dies: a killed run leaves no step behind."""
    poller = select.poll()
    poller.register(1, 0)  # no event asked for: POLLERR alone, which a pipe without reader gives
    poller.poll()
    os.kill(os.getpid(), signal.SIGTERM)
