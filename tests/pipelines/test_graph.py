"""The shape of the compiled pipelines: who waits for whom, behind which condition."""

from pathlib import Path

import pytest
import yaml

import components
from pipelines.graph import StepNode, ancestors, read_graph, without_retries
from pipelines.resources import Resources
from pipelines.retrain import build_retrain, compile_ir, retrain

NOT_REJECTED = "inputs.parameter_values['pipelinechannel--evaluate-gate-Output'] != 'reject'"
PROMOTED = "inputs.parameter_values['pipelinechannel--evaluate-gate-Output'] == 'promote'"
DEPLOYING = "inputs.parameter_values['pipelinechannel--deploy'] == 'yes'"


@pytest.fixture(scope="module")
def ir() -> str:
    return compile_ir(retrain)


@pytest.fixture(scope="module")
def graph(ir: str) -> dict[str, StepNode]:
    return read_graph(ir)


def test_every_component_folder_is_a_step_of_the_pipeline(graph: dict[str, StepNode]) -> None:
    folders = {path.parent.name for path in Path(components.__path__[0]).glob("*/component.py")}

    assert set(graph) == folders


@pytest.mark.parametrize("step", ["finetune_vision", "train_text_only"])
def test_training_waits_for_a_validated_dataset(graph: dict[str, StepNode], step: str) -> None:
    assert "validate_data" in ancestors(graph, step)


def test_training_does_not_read_the_validation(ir: str) -> None:
    """Else a repeated validation, under a new path, would train everything again."""
    tasks = yaml.safe_load(ir)["root"]["dag"]["tasks"]

    readers = [
        name
        for name, task in tasks.items()
        for source in task.get("inputs", {}).get("artifacts", {}).values()
        if source.get("taskOutputArtifact", {}).get("producerTask") == "validate-data"
    ]

    assert readers == ["condition-1"]  # the release keeps it as evidence


def test_candidate_starts_from_the_baseline_and_both_meet_at_the_gate(
    graph: dict[str, StepNode],
) -> None:
    assert graph["finetune_vision"].needs >= {"train_text_only"}
    assert graph["align_queries"].needs >= {"finetune_vision"}
    assert graph["train_fusion"].needs >= {"align_queries"}
    assert graph["evaluate_gate"].needs >= {"train_text_only", "train_fusion"}


def test_the_gate_sees_the_index_that_the_release_will_hold(ir: str) -> None:
    dag = yaml.safe_load(ir)["root"]["dag"]["tasks"]

    judged = dag["evaluate-gate"]["inputs"]["artifacts"]["index"]["taskOutputArtifact"]
    assert judged == {"producerTask": "build-index", "outputArtifactKey": "index"}
    released = dag["condition-1"]["inputs"]["artifacts"]
    assert judged in [artifact["taskOutputArtifact"] for artifact in released.values()]


def test_no_release_is_made_of_a_rejected_candidate(graph: dict[str, StepNode]) -> None:
    assert graph["register_release"].conditions == (NOT_REJECTED,)


def test_only_a_promoted_release_is_deployed_and_only_when_asked(
    graph: dict[str, StepNode],
) -> None:
    assert graph["deploy_triton"].conditions == (NOT_REJECTED, PROMOTED, DEPLOYING)
    assert "register_release" in ancestors(graph, "deploy_triton")


def test_steps_without_a_condition_are_those_up_to_the_gate(graph: dict[str, StepNode]) -> None:
    free = {name for name, node in graph.items() if not node.conditions}

    assert free == ancestors(graph, "evaluate_gate") | {"evaluate_gate"}


def test_registry_and_server_are_never_answered_from_the_step_cache(
    graph: dict[str, StepNode],
) -> None:
    assert {name for name, node in graph.items() if not node.caches} == {
        "register_release",
        "deploy_triton",
    }


def test_graph_is_in_an_order_that_can_run(graph: dict[str, StepNode]) -> None:
    names = list(graph)

    assert all(
        names.index(need) < names.index(name) for name in names for need in graph[name].needs
    )


def test_top_level_parameters_are_strings(ir: str) -> None:
    parameters = yaml.safe_load(ir)["root"]["inputDefinitions"]

    assert set(parameters) == {"parameters"}
    assert {value["parameterType"] for value in parameters["parameters"].values()} == {"STRING"}


def test_every_step_has_limits_and_retries_on_a_cluster(ir: str) -> None:
    spec = yaml.safe_load(ir)

    executors = spec["deploymentSpec"]["executors"].values()
    assert all(executor["container"]["resources"]["resourceMemoryLimit"] for executor in executors)
    assert ir.count("maxRetryCount: 2") == len(executors)


def test_local_pipeline_has_no_retries_and_is_otherwise_the_same(ir: str) -> None:
    local = without_retries(ir)

    assert "retryPolicy" not in local
    assert read_graph(local) == read_graph(ir)


def test_gpus_are_asked_for_by_training_steps_alone() -> None:
    spec = yaml.safe_load(compile_ir(build_retrain(Resources(cpu="8", memory="32G", gpus=2))))

    with_gpu = {
        name.removeprefix("exec-")
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if executor["container"]["resources"].get("accelerator", {}).get("resourceCount") == "2"
    }
    assert with_gpu == {
        "finetune-vision",
        "train-text-only",
        "align-queries",
        "train-fusion",
        "evaluate-gate",
        "embed-catalogue",
    }
