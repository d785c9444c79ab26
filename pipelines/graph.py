"""Reads a compiled pipeline: which steps it has and what each of them waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class StepNode:
    """One step of a compiled pipeline.

    Attributes:
        name: The component's name, such as `build_index`.
        needs: Names of the steps that must have ended before, direct ones only.
        conditions: Every condition on the way from the root to the step, outermost first.
        caches: Whether the orchestrator may answer from its step cache.
    """

    name: str
    needs: frozenset[str]
    conditions: tuple[str, ...]
    caches: bool


def read_graph(ir_yaml: str) -> dict[str, StepNode]:
    """Reads the steps of a compiled pipeline, those inside conditions included, in a valid order.

    Args:
        ir_yaml: The pipeline as IR YAML; further documents (platforms) are left aside.
    """
    spec = next(iter(yaml.safe_load_all(ir_yaml)))
    nodes: dict[str, StepNode] = {}
    _walk(spec["root"]["dag"], spec["components"], (), frozenset(), nodes)
    return _in_order(nodes)


def ancestors(graph: dict[str, StepNode], name: str) -> frozenset[str]:
    """Every step that must have ended before `name` starts."""
    found: set[str] = set()
    waiting = list(graph[name].needs)
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting.extend(graph[step].needs)
    return frozenset(found)


def without_retries(ir_yaml: str) -> str:
    """Removes the retry policies: on a laptop an error should stop at once and say why."""
    spec = next(iter(yaml.safe_load_all(ir_yaml)))
    dags = [spec["root"], *spec["components"].values()]
    for component in dags:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return yaml.safe_dump(spec, sort_keys=True)


def _walk(
    dag: dict[str, Any],
    components: dict[str, Any],
    conditions: tuple[str, ...],
    inherited: frozenset[str],
    nodes: dict[str, StepNode],
) -> None:
    for key, task in dag["tasks"].items():
        component = components[task["componentRef"]["name"]]
        condition = task.get("triggerPolicy", {}).get("condition")
        path = (*conditions, condition) if condition else conditions
        needs = inherited | {_step_name(other) for other in task.get("dependentTasks", [])}
        if "dag" in component:
            _walk(component["dag"], components, path, needs, nodes)
        else:
            name = _step_name(key)
            caches = bool(task.get("cachingOptions", {}).get("enableCache"))
            nodes[name] = StepNode(name, needs, path, caches)


def _step_name(task_key: str) -> str:
    return task_key.replace("-", "_")


def _in_order(nodes: dict[str, StepNode]) -> dict[str, StepNode]:
    ordered: dict[str, StepNode] = {}
    while len(ordered) < len(nodes):
        for name, node in nodes.items():
            if name not in ordered and node.needs <= ordered.keys():
                ordered[name] = node
    return ordered
