"""`mmr monitor` on the query log of a real Triton."""

import time
from pathlib import Path

from mmr.config.monitor import MonitorConfig, Watched
from mmr.monitoring.measures import Status
from mmr.monitoring.report import MonitorReport
from mmr.workspace import Workspace
from pipelines.watching import MonitorRequest, look
from serving.client import SearchClient
from serving.process import RunningServer
from tests.serving.conftest import TRAINING_QUERIES


def seen(workspace: Workspace, release: Path, out: Path) -> MonitorReport:
    return look(
        MonitorRequest(
            workspace=workspace.path,
            release=str(release),
            settings=MonitorConfig(),
            out=out / "report",
            textfile=out / "mmr.prom",
        )
    ).report


def test_what_triton_answered_is_held_against_the_training_queries(
    served: tuple[Workspace, RunningServer], release_a: Path, tmp_path: Path
) -> None:
    workspace, server = served
    before = seen(workspace, release_a, tmp_path).records if _has_log(workspace) else 0
    with SearchClient(server.grpc_url) as client:
        for start in range(0, len(TRAINING_QUERIES), 64):
            client.search_many(TRAINING_QUERIES[start : start + 64], k=5)
    deadline = time.monotonic() + 10
    wanted = before + len(TRAINING_QUERIES)
    while not _has_log(workspace) or seen(workspace, release_a, tmp_path).records < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    report = seen(workspace, release_a, tmp_path)

    assert report.damaged == 0
    assert report.distinct >= len(set(TRAINING_QUERIES))
    for name in (Watched.EMBEDDING_DRIFT, Watched.LENGTH_DRIFT, Watched.NEW_WORDS):
        assert report.measure(name).status is Status.OK
    assert report.measure(Watched.P95_MS).value is not None
    assert report.coverage is not None
    assert report.coverage > 0.5


def _has_log(workspace: Workspace) -> bool:
    return (workspace.serving / "query-log").is_dir()
