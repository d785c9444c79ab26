"""`mmr monitor` on the query log of a real Triton."""

import time
from pathlib import Path

from mmr.config.monitor import MonitorConfig, Watched
from mmr.monitoring.measure import Status
from mmr.monitoring.report import MonitorReport
from mmr.workspace import Workspace
from pipelines.watching import MonitorRequest, look
from serving.client import SearchClient
from serving.process import RunningServer
from tests.serving.small_shop import TRAINING_QUERIES


def seen(workspace: Workspace, release: Path, out: Path, *, since: float) -> MonitorReport:
    return look(
        MonitorRequest(
            workspace=workspace.path,
            release=str(release),
            settings=MonitorConfig(),
            days=(time.time() - since) / 86_400,
            out=out / "report",
            textfile=out / "mmr.prom",
        )
    ).report


def test_what_triton_answered_is_held_against_the_training_queries(
    served: tuple[Workspace, RunningServer], release_a: Path, tmp_path: Path
) -> None:
    workspace, server = served
    began = _next_second()  # other tests have asked the same server
    with SearchClient(server.grpc_url) as client:
        for start in range(0, len(TRAINING_QUERIES), 64):
            client.search_many(TRAINING_QUERIES[start : start + 64], k=5)
    deadline = time.monotonic() + 30
    while not _has_log(workspace) or (
        report := seen(workspace, release_a, tmp_path, since=began)
    ).records < len(TRAINING_QUERIES):
        assert time.monotonic() < deadline
        time.sleep(0.2)

    assert report.damaged == 0
    assert report.distinct == len(set(TRAINING_QUERIES))
    for name in (Watched.EMBEDDING_DRIFT, Watched.LENGTH_DRIFT, Watched.NEW_WORDS):
        assert report.measure(name).status is Status.OK
    assert report.measure(Watched.P95_MS).value is not None
    assert report.coverage is not None
    assert report.coverage > 0.5


def _next_second() -> float:
    """The log's times are whole seconds, and those of the last one may be of others.

    Half a second is for the time from the question for a window to its computation.
    """
    began = float(int(time.time()) + 1)
    time.sleep(began - time.time())
    return began - 0.5


def _has_log(workspace: Workspace) -> bool:
    return (workspace.serving / "query-log").is_dir()
