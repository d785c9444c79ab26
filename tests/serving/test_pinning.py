"""A client that pins a release gets that release or an error, never another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.deploy import DeployReport, deploy
from serving.settings import ServeSettings
from serving.transport import connect, text_column
from tests.serving.deployments import new_registry
from tests.serving.patience import PATIENT


@pytest.fixture(scope="module")
def there(workspace: Workspace, release_a: Path, release_b: Path) -> dict[str, Any]:
    registry = new_registry(release_a, release_b)
    return {"workspace": workspace, "registry": registry, "settings": PATIENT}


@pytest.fixture(scope="module")
def deployed(
    there: dict[str, Any],
    release_a: Path,
    release_b: Path,
    serve_settings: ServeSettings,
    triton_venv: Path,
) -> tuple[DeployReport, DeployReport]:
    """A serves no longer but is kept loaded; B serves."""
    serve = serve_settings.model_copy(update={"open_http": True})
    first, second = (
        deploy(release, serve=serve, triton_venv=triton_venv, **there)
        for release in (release_a, release_b)
    )
    return first, second


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_pinned_release_answers_though_another_serves(
    protocol: str,
    deployed: tuple[DeployReport, DeployReport],
    serve_settings: ServeSettings,
    release_a: Path,
    release_b: Path,
) -> None:
    port = serve_settings.grpc_port if protocol == "grpc" else serve_settings.http_port
    url = f"127.0.0.1:{port}"
    for release, seed in ((release_a, "1"), (release_b, "2")):
        with SearchClient(url, protocol=protocol, release=release.name) as client:
            assert client.ready()
            answers = [client.search("oak desk", 3), *client.search_many(["red sofa"] * 3)]
            assert {answer.release_id for answer in answers} == {release.name}
            found = {hit.product_id.split("-")[0] for answer in answers for hit in answer.hits}
            assert found == {seed}
            assert client.embed(["oak desk"]).release_id == release.name
    with SearchClient(url, protocol=protocol) as client:
        assert client.search("oak desk").release_id == release_b.name


def test_release_that_is_not_loaded_is_refused_and_those_loaded_are_named(
    deployed: tuple[DeployReport, DeployReport], release_a: Path, release_b: Path
) -> None:
    with (
        SearchClient(deployed[1].grpc_url, release="f" * 16) as client,
        pytest.raises(ServingError, match="ffff is not loaded") as refusal,
    ):
        client.search("oak desk")
    assert release_a.name in str(refusal.value)
    assert release_b.name in str(refusal.value)


@pytest.mark.parametrize("model", ["search", "query_encoder"])
def test_server_itself_refuses_another_pair_of_release_and_version(
    model: str, deployed: tuple[DeployReport, DeployReport], release_a: Path, release_b: Path
) -> None:
    """As when a client's knowledge of versions is stale."""
    transport = connect(deployed[1].grpc_url, protocol="grpc", timeout_s=5)
    try:
        with pytest.raises(ServingError, match=r"Parameter release asks for.*holds") as refusal:
            transport.infer(
                model,
                {"TEXT": text_column(["oak desk"])},
                ("RELEASE_ID",),
                version=deployed[1].version,
                parameters={"release": release_a.name},
            )
    finally:
        transport.close()
    assert f"version {deployed[1].version} holds release {release_b.name}" in str(refusal.value)


def test_release_and_version_cannot_both_be_pinned() -> None:
    with pytest.raises(ServingError, match=r"Pin one of them"):
        SearchClient("127.0.0.1:1", release="a", version=1)


@pytest.mark.parametrize("parameter", ["release", "key", "fixed", "probe"])
def test_parameter_of_the_wrong_type_is_refused_by_name(
    parameter: str, deployed: tuple[DeployReport, DeployReport]
) -> None:
    transport = connect(deployed[1].grpc_url, protocol="grpc", timeout_s=5)
    try:
        with pytest.raises(ServingError, match=f"Parameter {parameter} must be"):
            transport.infer(
                "search",
                {"TEXT": text_column(["oak desk"])},
                ("RELEASE_ID",),
                parameters={parameter: 7},
            )
    finally:
        transport.close()


def test_pin_follows_its_release_to_a_new_version(
    deployed: tuple[DeployReport, DeployReport],
    there: dict[str, Any],
    make_release: Callable[..., Path],
    release_a: Path,
    release_b: Path,
) -> None:
    third = make_release(5)
    there["registry"].register(release_id=third.name, release_dir=third, run_id=None, tags={})
    with SearchClient(deployed[1].grpc_url, release=release_b.name) as client:
        assert client.search("oak desk").release_id == release_b.name
        for release in (third, release_a):
            deploy(release, **there)
        with pytest.raises(ServingError, match=f"{release_b.name} is not loaded"):
            client.search("oak desk")
        deploy(release_b, **there)
        assert client.search("oak desk").release_id == release_b.name
