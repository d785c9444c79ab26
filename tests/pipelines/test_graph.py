"""The shape of the compiled pipelines: who waits for whom, behind which condition."""

from pathlib import Path

import pytest
import yaml

import components
import pipelines
from pipelines.compilation import compile_ir
from pipelines.definitions import build_pipeline
from pipelines.graph import StepNode, ancestors, read_graph, without_retries
from pipelines.refresh import refresh
from pipelines.resources import Resources, Volume
from pipelines.retrain import build_retrain, retrain

NOT_REJECTED = "inputs.parameter_values['pipelinechannel--evaluate-gate-Output'] != 'reject'"
PROMOTED = "inputs.parameter_values['pipelinechannel--evaluate-gate-Output'] == 'promote'"
DEPLOYING = "inputs.parameter_values['pipelinechannel--deploy'] == 'yes'"


@pytest.fixture(scope="module")
def ir() -> str:
    return compile_ir(retrain)


@pytest.fixture(scope="module")
def graph(ir: str) -> dict[str, StepNode]:
    return read_graph(ir)


@pytest.fixture(scope="module")
def refresh_graph() -> dict[str, StepNode]:
    return read_graph(compile_ir(refresh))


def test_every_component_folder_is_a_step_of_a_pipeline(
    graph: dict[str, StepNode], refresh_graph: dict[str, StepNode]
) -> None:
    folders = {path.parent.name for path in Path(components.__path__[0]).glob("*/component.py")}

    assert {*graph, *refresh_graph} == folders


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
        "find_champion",
        "register_release",
        "deploy_triton",
    }


def test_champion_is_looked_up_after_the_training_and_the_deployment_expects_it(
    ir: str, graph: dict[str, StepNode]
) -> None:
    assert graph["find_champion"].needs == {"train_fusion"}
    assert "find_champion" in graph["evaluate_gate"].needs
    deploying = next(
        component["dag"]["tasks"]["deploy-triton"]
        for component in yaml.safe_load(ir)["components"].values()
        if "deploy-triton" in component.get("dag", {}).get("tasks", {})
    )
    given = deploying["inputs"]["parameters"]["champion"]["componentInputParameter"]
    assert given == "pipelinechannel--find-champion-release"


def test_refresh_trains_nothing_and_waits_for_a_validated_dataset(
    refresh_graph: dict[str, StepNode],
) -> None:
    assert not [name for name in refresh_graph if name.startswith(("train_", "finetune_"))]
    assert "validate_data" in ancestors(refresh_graph, "embed_changes")
    assert "find_champion" in ancestors(refresh_graph, "import_data")


def test_refresh_builds_nothing_when_nothing_changed_and_registers_nothing_that_lost_something(
    refresh_graph: dict[str, StepNode],
) -> None:
    changed = "inputs.parameter_values['pipelinechannel--embed-changes-Output'] == 'changed'"
    whole = "inputs.parameter_values['pipelinechannel--check-refresh-Output'] == 'promote'"

    assert refresh_graph["embed_changes"].conditions == ()
    assert refresh_graph["build_index"].conditions == (changed,)
    assert refresh_graph["register_release"].conditions == (changed, whole)
    assert refresh_graph["deploy_triton"].conditions == (changed, whole, DEPLOYING)


@pytest.mark.parametrize("name", ["retrain", "refresh"])
def test_every_step_mounts_the_volume_of_the_workspace_on_a_cluster(name: str) -> None:
    resources = Resources(cpu="4", memory="8G", volume=Volume(claim="shop-data", path="/data"))
    spec, platforms = yaml.safe_load_all(compile_ir(build_pipeline(name, resources)))

    mounted = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(mounted) == set(spec["deploymentSpec"]["executors"])
    for executor in mounted.values():
        (mount,) = executor["pvcMount"]
        assert mount["mountPath"] == "/data"
        assert mount["pvcNameParameter"] == {"runtimeValue": {"constant": "shop-data"}}


def test_claim_that_ships_is_the_one_that_steps_mount_and_many_nodes_may_mount_it() -> None:
    file = Path(pipelines.__path__[0]) / "workspace-claim.yaml"
    claim = yaml.safe_load(file.read_text(encoding="utf-8"))

    assert (claim["kind"], claim["metadata"]["name"]) == ("PersistentVolumeClaim", Volume().claim)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_pipeline_for_this_machine_mounts_nothing(ir: str) -> None:
    assert len(list(yaml.safe_load_all(ir))) == 1


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
