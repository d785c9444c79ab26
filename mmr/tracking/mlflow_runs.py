"""Writes one run into MLflow, within its limits on names, lengths and batches."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from mmr.tracking.protocols import Parameter

_METRICS_PER_CALL = 900
_PAIRS_PER_CALL = 90
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000


def write_run(
    client: MlflowClient,
    *,
    experiment_id: str,
    name: str,
    params: Mapping[str, Parameter],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, object]],
    tags: Mapping[str, str],
    artifacts: Path | None,
) -> str:
    """Creates a run, fills it, and marks it finished. Returns its id."""
    run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
    stamp = int(time.time() * 1000)
    points = [Metric(_key(key), float(value), stamp, 0) for key, value in metrics.items()]
    points += _curves(history, stamp)
    for start in range(0, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])
    pairs = [Param(_key(key), str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
    for start in range(0, len(pairs), _PAIRS_PER_CALL):
        client.log_batch(run_id, params=pairs[start : start + _PAIRS_PER_CALL])
    labels = [RunTag(_key(key), str(value)[:_TAG_LENGTH]) for key, value in tags.items()]
    for start in range(0, len(labels), _PAIRS_PER_CALL):
        client.log_batch(run_id, tags=labels[start : start + _PAIRS_PER_CALL])
    if artifacts is not None:
        client.log_artifacts(run_id, str(artifacts))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _curves(history: Sequence[Mapping[str, object]], stamp: int) -> list[Metric]:
    """Each number of each row as a point of the curve `stage/key`, at step `epoch`."""
    points = []
    for row_number, row in enumerate(history):
        epoch = row.get("epoch", row_number)
        step = int(epoch) if isinstance(epoch, int | float) else row_number
        prefix = f"{row['stage']}/" if row.get("stage") else ""
        points += [
            Metric(_key(f"{prefix}{key}"), float(value), stamp, step)
            for key, value in row.items()
            if key not in ("stage", "epoch") and isinstance(value, int | float)
        ]
    return points


def _key(name: str) -> str:
    """A name that every MLflow store accepts."""
    return re.sub(r"/{2,}", "/", re.sub(r"[^\w./ -]", "_", name)).strip("/. ")[:250] or "unnamed"
