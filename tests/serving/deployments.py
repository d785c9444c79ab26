"""What tests ask after a deployment."""

from collections.abc import Callable

from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.deploy import DeployReport
from serving.repository import ActiveVersion, ModelRepository
from serving.transport import connect

Deploy = Callable[..., DeployReport]


def serving_release(report: DeployReport) -> str:
    with SearchClient(report.grpc_url) as client:
        return client.search("white lamp", 1).release_id


def on_record(workspace: Workspace) -> ActiveVersion:
    active = ModelRepository(workspace.serving).active()
    assert active is not None
    return active


def assert_no_trace_of_a_candidate(workspace: Workspace, before: DeployReport) -> None:
    repository = ModelRepository(workspace.serving)
    assert repository.versions("search")[-1] == before.version
    assert not (repository.path / "search_candidate").exists()
    transport = connect(before.grpc_url, protocol="grpc", timeout_s=5)
    assert not transport.ready("search_candidate")
    transport.close()
