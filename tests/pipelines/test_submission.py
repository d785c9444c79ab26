"""What `mmr run` checks and passes on before any work starts."""

import json
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from mmr.config.gate import GateConfig
from mmr.config.refresh import RefreshConfig
from mmr.config.run import RunSettings, load_settings
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, ConfigError, DataContractError
from mmr.workspace import Workspace
from pipelines.compilation import compile_ir
from pipelines.launch import RunRequest, _settings, launch
from pipelines.local import run_locally
from pipelines.refresh import refresh
from pipelines.retrain import retrain
from pipelines.submission import (
    Source,
    code_version,
    read_source,
    refresh_arguments,
    retrain_arguments,
)
from serving.settings import ServeSettings

PRODUCT = {"product_id": "p1", "title": "white wardrobe", "description": "", "image": None}
QUERIES = pd.DataFrame({"query_id": ["q1"], "query": ["wardrobe"], "kind": [""], "split": [""]})
JUDGEMENTS = pd.DataFrame({"query_id": ["q1"], "product_id": ["p1"], "grade": [1]})


def _write_dataset(path: Path, *, judgements: pd.DataFrame = JUDGEMENTS) -> Path:
    with new_dataset(path, attributes={}) as writer:
        writer.add_products([PRODUCT])
        writer.set_queries(QUERIES)
        writer.set_judgements(judgements)
        writer.finish(name="shop", prepared=None)
    return path


def _arguments(workspace: Workspace) -> dict[str, str]:
    return retrain_arguments(
        Source(text="showroom:products=10", revision="r1", name="showroom"),
        settings=RunSettings(),
        workspace=workspace,
        tracking_uri=workspace.tracking_uri,
        previous_dataset=None,
        serve=ServeSettings(),
        deploy=False,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace", create=True)


def test_arguments_are_exactly_the_parameters_of_the_pipeline(workspace: Workspace) -> None:
    arguments = _arguments(workspace)

    assert set(arguments) == set(retrain.component_spec.inputs)
    assert {type(value) for value in arguments.values()} == {str}


def test_arguments_are_exactly_the_parameters_of_the_refresh(workspace: Workspace) -> None:
    arguments = refresh_arguments(
        Source(text="/feed", revision="r1", name="feed"),
        settings=RefreshConfig(max_removed_share=0.2),
        workspace=workspace,
        tracking_uri=workspace.tracking_uri,
        serve=ServeSettings(),
        deploy=True,
    )

    assert set(arguments) == set(refresh.component_spec.inputs)
    assert {type(value) for value in arguments.values()} == {str}
    assert json.loads(arguments["refresh_settings"])["max_removed_share"] == 0.2


def test_every_settings_argument_is_json_of_that_step_alone(workspace: Workspace) -> None:
    arguments = _arguments(workspace)

    vision = json.loads(arguments["vision_settings"])
    assert vision == RunSettings().vision_stage.model_dump(mode="json")
    assert "gate" not in vision


def test_other_content_of_a_dataset_has_another_revision(tmp_path: Path) -> None:
    first = read_source(str(_write_dataset(tmp_path / "a")))
    better = JUDGEMENTS.assign(grade=2)
    second = read_source(str(_write_dataset(tmp_path / "b", judgements=better)))
    copy = read_source(str(_write_dataset(tmp_path / "c")))

    assert first.revision != second.revision
    assert first.revision == copy.revision


def test_other_content_of_a_feed_has_another_revision(tmp_path: Path) -> None:
    feed = tmp_path / "products.csv"
    feed.write_text("product_id,title\n1,chair\n")
    before = read_source(str(feed)).revision
    feed.write_text("product_id,title\n1,table\n")

    assert read_source(str(feed)).revision != before


def test_dataset_without_judgements_is_refused_before_any_work(tmp_path: Path) -> None:
    dataset = _write_dataset(tmp_path / "shop", judgements=JUDGEMENTS.iloc[:0])

    with pytest.raises(DataContractError, match="has no judgements, so nothing can be trained"):
        read_source(str(dataset))


def test_refresh_takes_a_dataset_without_judgements_but_not_without_products(
    tmp_path: Path,
) -> None:
    dataset = _write_dataset(tmp_path / "shop", judgements=JUDGEMENTS.iloc[:0])
    assert read_source(str(dataset), judged=False).name == "shop"

    record = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**record, "products": 0}))
    with pytest.raises(DataContractError, match="has no products"):
        read_source(str(dataset), judged=False)


def test_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="does not exist"):
        read_source(str(tmp_path / "nothing"))


def test_code_version_is_stable() -> None:
    assert code_version() == code_version()


def test_workspace_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text('{"format_version": 99}')

    with pytest.raises(ArtifactError, match="workspace of format 99"):
        launch(_request(tmp_path))


def test_two_runs_in_one_workspace_are_refused(workspace: Workspace) -> None:
    with (
        FileLock(workspace.path / "run.lock"),
        pytest.raises(
            ArtifactError, match="Another `mmr run`, `mmr refresh` or `mmr ablate` works"
        ),
    ):
        launch(_request(workspace.path))


def test_path_that_the_local_runner_would_rewrite_is_refused(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "python3-shop", create=True)

    with pytest.raises(ConfigError, match="Choose a path without it"):
        run_locally(
            compile_ir(retrain),
            _arguments(workspace),
            workspace=workspace,
            log=tmp_path / "log",
            show=lambda line: None,
        )


def _request(workspace: Path) -> RunRequest:
    return RunRequest(
        source="showroom:products=10", preset="quick", workspace=workspace, deploy=False
    )


def test_a_policy_file_replaces_the_gate_of_the_settings_alone(tmp_path: Path) -> None:
    policy = tmp_path / "gate.yaml"
    policy.write_text("min_effect: 0.01\nfloors: {recall_at_10: 0.5}\n")
    settings = _settings(RunRequest("shop", "quick", tmp_path, gate=policy))
    expected = load_settings("quick").model_copy(
        update={"gate": GateConfig(min_effect=0.01, floors={"recall_at_10": 0.5})}
    )
    assert settings == expected
    assert settings != load_settings("quick")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_efect: 0.01", "min_efect: Extra inputs"),
        ("max_p: 2", "max_p: Input should be less than 1"),
        ("floors: {recall: 0.5}", "floors.recall"),
        ("a: [", "is not valid YAML"),
        (None, "is not a file"),
    ],
)
def test_a_wrong_policy_file_stops_before_any_work(
    text: str | None, message: str, tmp_path: Path
) -> None:
    policy = tmp_path / "gate.yaml"
    if text is not None:
        policy.write_text(text)
    with pytest.raises(ConfigError, match=message):
        launch(RunRequest("shop", "quick", tmp_path / "workspace", gate=policy))
    assert not (tmp_path / "workspace").exists()
